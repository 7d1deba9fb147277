"Chapter 02: one interaction, two measures of it, and another mixing rule."
import math

import torch
from torch import nn

from ..interaction import RegionalInteraction
from .core import (Slips, Wrong, ask, check_shape, compare, compare_choice, compare_number,
                   exercise, kind_of)

# 02.1: the normalisation has weights of its own and the scalar is 2: forgetting either shows

interaction_slips = Slips()


def closed_interaction(dim, n_mixed):
    "An interaction in which no part can be left out unnoticed, and that cannot be called."
    def closed(*_):
        raise Wrong('write it out from mix.norm, mix.mlp and mix.scale, '
                    'without mix(x) and mix.weights(x)')

    interaction = RegionalInteraction(dim, n_mixed)
    with torch.no_grad():
        interaction.scale.fill_(2.)
        interaction.norm.weight.uniform_(.5, 3)
        interaction.norm.bias.uniform_(-1, 1)
        for layer in interaction.mlp:
            if isinstance(layer, nn.Linear): layer.weight.mul_(2)
    interaction.forward = closed
    interaction.weights = closed
    return interaction


def scores_of(mix, x):
    "The scores of the tokens, before the softmax."
    return mix.scale*mix.mlp(mix.norm(x))


def mixing(mix, x):
    "The weights D."
    return scores_of(mix, x).softmax(-2)


@interaction_slips
def softmax_over_mixed(mix, x):
    "softmax over the wrong axis: over the mixed tokens; the columns of D should sum to 1"
    return scores_of(mix, x).softmax(-1).mT @ x


@interaction_slips
def softmax_over_regions(mix, x):
    "softmax over the wrong axis: over the regions"
    return scores_of(mix, x).softmax(1).mT @ x


@interaction_slips
def normalised_mixed(mix, x):
    "the normalised tokens were mixed: X itself is"
    return mixing(mix, x).mT @ mix.norm(x)


@interaction_slips
def scalar_missing(mix, x):
    "the scalar s is missing"
    return mix.mlp(mix.norm(x)).softmax(-2).mT @ x


@interaction_slips
def scalar_after_softmax(mix, x):
    "the scalar s is applied after the softmax"
    return mix.scale*(mix.mlp(mix.norm(x)).softmax(-2).mT @ x)


@interaction_slips
def scalar_before_mlp(mix, x):
    "the scalar s is applied before the MLP: it goes on the scores"
    return mix.mlp(mix.scale*mix.norm(x)).softmax(-2).mT @ x


@interaction_slips
def norm_missing(mix, x):
    "the LayerNorm is missing before the scores"
    return (mix.scale*mix.mlp(x)).softmax(-2).mT @ x


@interaction_slips
def softmax_missing(mix, x):
    "the softmax is missing"
    return scores_of(mix, x).mT @ x


@interaction_slips
def weights_alone(mix, x):
    "these are the weights D: mix the tokens with them"
    return mixing(mix, x)


@interaction_slips
def not_transposed(mix, x):
    "forgot to transpose D: a mixed token takes a column, not a row"
    D = mixing(mix, x)
    return D @ x if D.shape[-1] == x.shape[-2] else None


@exercise('02.1', 'one interaction')
@torch.no_grad()
def check_interaction(my_interaction):
    "The mixed tokens of four sizes."
    sizes = [(1, 1, 3, 4, 2), (1, 1, 3, 4, 3), (1, 2, 5, 8, 3), (2, 4, 21, 8, 4)]
    for images, regions, tokens, dim, mixed in sizes:
        case = f'{images} image, {regions} region, {tokens} tokens, {mixed} mixed'
        mix = closed_interaction(dim, mixed)
        x = 3*torch.randn(images, regions, tokens, dim) + 1
        answer = ask(my_interaction, mix, x, case=case)
        truth = mixing(mix, x).mT @ x
        compare(answer, truth, 'batch region mixed dim', case, interaction_slips.of(mix, x))
    return 'four sizes, from 3 tokens and 2 mixed ones to 4 regions of 21 tokens'


# 02.2: weights that are exactly 0 come last, since a nan would hide every other mistake

perplexity_slips = Slips()


def entropy(D):
    "The entropy of each column, in natural logarithms."
    return torch.special.entr(D).sum(1)


@perplexity_slips
def entropy_alone(D):
    "this is the entropy: perplexity is its exponential"
    return entropy(D)


@perplexity_slips
def sign_wrong(D):
    "the sign is wrong"
    return (-entropy(D)).exp()


@perplexity_slips
def over_mixed(D):
    "summed over the wrong axis: over the tokens of a column, not over the mixed tokens"
    return torch.special.entr(D).sum(2).exp()


@perplexity_slips
def over_regions(D):
    "summed over the regions"
    return torch.special.entr(D).sum(0).exp()


@perplexity_slips
def bits_to_e(D):
    "entropy in bits needs 2 to its power, not e"
    return (entropy(D)/math.log(2)).exp()


@perplexity_slips
def nats_to_two(D):
    "entropy of natural logarithms needs e to its power, not 2"
    return 2**entropy(D)


@perplexity_slips
def inverse_squares(D):
    "this is 1/ΣD², another count: the perplexity is the exponential of the entropy"
    return 1/(D*D).sum(1)


NAN_WEIGHT = '0 · log 0 counts as 0, not as nan: clamp the weight inside the logarithm'


def has_nan(answer):
    "Is there a nan in a tensor, or is a number nan?"
    if isinstance(answer, torch.Tensor): return bool(answer.isnan().any())
    return isinstance(answer, float) and math.isnan(answer)


@exercise('02.2', 'how many tokens a column averages')
def check_perplexity(perplexity, why):
    "The perplexity of three matrices, and what the scores of a fresh interaction do to it."
    counts = torch.tensor([[[.5, 1/3, 1.], [.5, 1/3, 0.], [0., 1/3, 0.]]])  # average 2, 3 and 1
    positive = torch.tensor([[[.5, 1/3, .8], [.25, 1/3, .1], [.25, 1/3, .1]]])
    for case, D in [('three tokens, three columns', positive),
                    ('random weights', torch.randn(4, 21, 5).softmax(1)),
                    ('columns that average 2, 3 and 1 tokens', counts)]:
        answer = ask(perplexity, D, case=case)
        if has_nan(answer) and (D == 0).any(): raise Wrong(f'{case}: {NAN_WEIGHT}')
        compare(answer, entropy(D).exp(), 'region mixed', case, perplexity_slips.of(D))
    compare_choice(why, 'b', {
        'a': 'measure it: the scores of a fresh interaction differ by hundredths, '
             'and ten times that is still little',
        'c': 'a softmax takes away what is added to all scores, '
             'not what they are multiplied with; try 1000'})
    return ('columns that average 2, 3 and 1 tokens, and random ones; '
            'small scores stay small at ten times their size')


# 02.3

effective_slips = Slips()


def count_of(shares):
    "The exponential of the entropy of shares."
    return float(torch.special.entr(shares).sum().exp())


def power_shares(x):
    "The squares of the singular values, as shares of their sum."
    power = torch.linalg.svdvals(x)**2
    return power/power.sum()


@effective_slips
def not_squared(x):
    "the singular values are not squared"
    values = torch.linalg.svdvals(x)
    return count_of(values/values.sum())


@effective_slips
def not_exponentiated(x):
    "the entropy is not exponentiated"
    return float(torch.special.entr(power_shares(x)).sum())


@effective_slips
def mean_taken_away(x):
    "the mean was taken away first: five equal tokens are one token, not none"
    return count_of(power_shares(x - x.mean(0)))


@effective_slips
def not_shares(x):
    "the shares do not sum to 1: divide by their sum"
    return count_of(torch.linalg.svdvals(x)**2)


@effective_slips
def rank(x):
    "this is the rank, which counts the smallest difference in full"
    return float(torch.linalg.matrix_rank(x))


@effective_slips
def tokens_counted(x):
    "the tokens were counted"
    return float(len(x))


@exercise('02.3', 'how many different tokens there are, in effect')
def check_effective(effective, why):
    "The effective number of three sets of tokens, and what a fresh interaction makes of it."
    pairs = torch.tensor([[1., 0.], [1., 0.], [0., 1.], [0., 1.]])
    for case, x in [('two pairs of equal tokens', pairs), ('five equal tokens', torch.ones(5, 4)),
                    ('random tokens', torch.randn(21, 16))]:
        answer = ask(effective, x, case=case)
        if has_nan(answer):
            raise Wrong(f'{case}: 0 · log 0 counts as 0, not as nan: '
                        'clamp the share inside the logarithm')
        truth = count_of(power_shares(x))
        compare_number(answer, truth, 'the effective number', case, effective_slips.of(x), eps=1e-3)
    compare_choice(why, 'c', {
        'a': 'the softmax gives every column its own weights; '
             'at the start they are just nearly the same weights',
        'b': 'small they are, since random tokens have mean zero (try x + 1); but the blocks that '
             'follow begin with a LayerNorm, so size is not what is lost'})
    return ('1 for equal tokens, 2 for two pairs, in between for random ones; '
            'a fresh interaction makes about one')


# 02.4: nobody can know how an answer names its parts, so first comes what every such rule must do

def sums_to_one(D, axis):
    "Does D sum to 1 over an axis?"
    return torch.allclose(D.sum(axis), torch.ones(()), atol=1e-4)


def check_weights(rule, x, n_mixed):
    "The weights of a rule; raises `Wrong` unless they make convex combinations by region."
    if not hasattr(rule, 'weights'):
        raise Wrong('the class has no method weights: give it one, and forward')
    D = ask(rule.weights, x, case='weights(x)')
    if not isinstance(D, torch.Tensor):
        raise Wrong(f'weights(x): a tensor is expected, this is {kind_of(D)}')
    try: check_shape(D.shape, (*x.shape[:3], n_mixed), 'batch region token mixed')
    except Wrong as problem: raise Wrong(f'weights(x): {problem}') from None
    if (D < 0).any(): raise Wrong('weights(x): some weights are negative: a softmax is missing')
    if sums_to_one(D, 2): return D
    reason = 'there is no softmax over the tokens of a region'
    if sums_to_one(D, (1, 2)): reason = 'softmax over the tokens of all regions at once'
    if sums_to_one(D, 3): reason = 'softmax over the wrong axis, the mixed tokens'
    raise Wrong(f'weights(x): the columns do not sum to 1: {reason}')


forward_slips = Slips()


@forward_slips
def rule_normalised(D, x):
    "the normalised tokens were mixed: X itself is"
    return D.mT @ nn.functional.layer_norm(x, x.shape[-1:])


def check_separate(rule, x):
    "Raise `Wrong` unless regions keep to themselves and order and number of tokens do not matter."
    other = x.clone()
    other[:, 0] = torch.randn_like(other[:, 0])
    if not torch.allclose(rule(x)[:, 1:], rule(other)[:, 1:], atol=1e-4):
        raise Wrong('regions talk to each other: a change in region 0 changed '
                    'the mixed tokens of another region')
    shuffle = torch.randperm(x.shape[2])
    if not torch.allclose(rule(x), rule(x[:, :, shuffle]), atol=1e-4):
        raise Wrong('the order of the tokens matters: shuffled inside their region, '
                    'they give other mixed tokens')
    few = ask(rule, x[:, :, :7], case='7 tokens a region')
    check_shape(few.shape, rule(x).shape, 'batch region mixed dim')


def norm_parameters(rule):
    "The identities of the parameters of its LayerNorms."
    norms = [module for module in rule.modules() if isinstance(module, nn.LayerNorm)]
    return {id(parameter) for norm in norms for parameter in norm.parameters()}


score_slips = Slips()


@score_slips
def root_missing(x, query):
    "weights(x): the √dim is missing"
    return dot_products(x, query).softmax(2)


@score_slips
def root_of_mixed(x, query):
    "weights(x): divided by √n_mixed, not by √dim"
    return (dot_products(x, query)/len(query)**.5).softmax(2)


@score_slips
def dim_not_root(x, query):
    "weights(x): divided by dim, not by √dim"
    return (dot_products(x, query)/x.shape[-1]).softmax(2)


@score_slips
def queries_normalised(x, query):
    "weights(x): the queries are normalised: take them as they are"
    return (dot_products(x, query)/query.norm(dim=1)/x.shape[-1]**.5).softmax(2)


@score_slips
def multiplied_by_root(x, query):
    "weights(x): multiplied by √dim"
    return (dot_products(x, query)*x.shape[-1]**.5).softmax(2)


def dot_products(x, query):
    "LayerNorm(x) · query for each token and query."
    return nn.functional.layer_norm(x, x.shape[-1:]) @ query.T


def queries_among(parameters, n_mixed, dim):
    "The queries: one parameter (n_mixed, dim), either way round, or n_mixed of dim numbers each."
    sizes = {id(p): [n for n in p.shape if n > 1] for p in parameters}
    whole = [p for p in parameters if sizes[id(p)] in ([n_mixed, dim], [dim, n_mixed])]
    each = [p for p in parameters if sizes[id(p)] == [dim]]
    if len(whole) == 1: return whole
    if not whole and len(each) == n_mixed: return each
    raise Wrong(f'{len(whole) or "no"} parameters of shape (n_mixed, dim): the queries are one, '
                'or a list of n_mixed with dim numbers each')


def check_learned(rule, x, queries):
    "Raise `Wrong` unless a gradient comes from the mixed tokens to the queries."
    def gradients():
        with torch.enable_grad():
            mixed = rule(x)
            if mixed.requires_grad: (mixed*torch.randn_like(mixed)).sum().backward()
        return [query.grad for query in queries]

    grads = ask(gradients, case='the gradient of forward')
    if all(grad is not None and grad.isfinite().all() and grad.any() for grad in grads): return
    raise Wrong('the queries cannot learn: no gradient comes from forward to them; '
                'leave out requires_grad=False, detach and no_grad')


def check_scores(rule, x, n_mixed):
    """Raise `Wrong` unless the scores are LayerNorm(x) · query / √dim.

    3x + 1 has the same LayerNorm as x, so it must get the same weights. The queries are known by
    their shape, whatever their name: they are set, and the weights compared.
    """
    dim = x.shape[-1]
    if not torch.allclose(rule.weights(3*x + 1), rule.weights(x), atol=1e-3):
        raise Wrong('3x + 1 gets other weights than x, and has the same LayerNorm: '
                    'score LayerNorm(x), not x or x of length 1')
    norms = norm_parameters(rule)
    free = [parameter for parameter in rule.parameters() if id(parameter) not in norms]
    queries = queries_among(free, n_mixed, dim)
    for query in queries: query.normal_()
    ours = {id(query) for query in queries}
    shapes = [tuple(parameter.shape) for parameter in free if id(parameter) not in ours]
    if (n_mixed,) in shapes or (dim, dim) in shapes:
        raise Wrong('a bias or a key projection, used or left over: '
                    'the score is the dot product alone')
    if any(parameter.numel() == 1 for parameter in free):
        raise Wrong('a scalar like s, used or left over: '
                    'here the score is the dot product over √dim alone')
    query = torch.stack([query.squeeze() for query in queries]).squeeze(0)
    if query.shape != (n_mixed, dim): query = query.T
    truth = (dot_products(x, query)/dim**.5).softmax(2)
    compare(rule.weights(x), truth, 'batch region token mixed',
            'softmax of LayerNorm(x) · query/√dim', score_slips.of(x, query), eps=1e-3)
    check_learned(rule, x, queries)


def check_size(Rule, dim, n_mixed, images, regions, tokens):
    "Check a rule of one size; say how different its fresh mixed tokens are, as a share."
    rule = ask(Rule, dim, n_mixed, case=f'Rule(dim={dim}, n_mixed={n_mixed})')
    x = 3*torch.randn(images, regions, tokens, dim) + 1
    if not isinstance(rule, nn.Module):
        raise Wrong(f'an nn.Module is expected, this is {kind_of(rule)}')
    D = check_weights(rule, x, n_mixed)
    mixed = ask(rule, x, case='forward')
    compare(mixed, D.mT @ x, 'batch region mixed dim', 'forward against weights(x)ᵀ x',
            forward_slips.of(D, x), eps=1e-3)
    if D.std(2).max() < 1e-6:
        raise Wrong('all weights are equal: queries that start equal, as from 0, never part; '
                    'draw them')
    check_separate(rule, x)
    norms = norm_parameters(rule)
    if not any(id(parameter) not in norms for parameter in rule.parameters()):
        raise Wrong('the queries are not learned: make them an nn.Parameter')
    if (mixed[0, 0] - mixed[0, 0, :1]).abs().max() < 1e-6:
        raise Wrong('all mixed tokens are equal: give each a query of its own')
    part = (mixed[0, 0].std(0).mean()/x[0, 0].std(0).mean()).item()
    check_scores(rule, x, n_mixed)
    return part


@exercise('02.4', 'another mixing rule')
@torch.no_grad()
def check_rule(Rule):
    "A rule with learned queries: convex, by region, without order, with the score asked for."
    part = check_size(Rule, 8, 3, 2, 4, 21)
    try: check_size(Rule, 12, 5, 3, 9, 13)
    except Wrong as problem:
        raise Wrong(f'dim 12, 5 mixed tokens, 9 regions: {problem}') from None
    return ('convex, by region, without order; '
            f'its fresh mixed tokens are {part:.1%} as different as the tokens')
