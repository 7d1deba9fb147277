"Chapter 03: a block, what attention costs, and a fifth scale."
import torch

from ..model import Block, DEMSViT, ViT, count_cost, create_model, shape_ledger
from .core import Slips, Wrong, ask, compare, compare_choice, compare_number, exercise, kind_of

# 03.1

block_slips = Slips()


def after_attention(block, x):
    "The tokens that attention leaves, with the residual."
    return x + block.attn(block.norm1(x))


@block_slips
def no_residual(block, x):
    "both residuals are forgotten: a branch is added to x"
    return block.mlp(block.norm2(block.attn(block.norm1(x))))


@block_slips
def first_residual_missing(block, x):
    "the first residual is forgotten: add attention to x"
    y = block.attn(block.norm1(x))
    return y + block.mlp(block.norm2(y))


@block_slips
def second_residual_missing(block, x):
    "the second residual is forgotten: add the MLP to what attention left"
    return block.mlp(block.norm2(after_attention(block, x)))


@block_slips
def post_norm(block, x):
    "this is post-norm: a LayerNorm stands at the head of its branch, not after the sum"
    y = block.norm1(x + block.attn(x))
    return block.norm2(y + block.mlp(y))


@block_slips
def residual_normalised(block, x):
    "the residual takes the normalised tokens: add to x itself"
    y = block.norm1(x)
    z = y + block.attn(y)
    return z + block.mlp(block.norm2(z))


@block_slips
def parallel_branches(block, x):
    "the second branch reads the input of the block: it should read what attention left"
    return after_attention(block, x) + block.mlp(block.norm2(x))


@block_slips
def attention_lost(block, x):
    "the second branch is added to the input of the block: attention is lost"
    return x + block.mlp(block.norm2(after_attention(block, x)))


@block_slips
def residuals_normalised(block, x):
    "the residuals take the normalised tokens: add to x itself"
    y = block.norm1(x)
    z = block.norm2(y + block.attn(y))
    return z + block.mlp(z)


@block_slips
def norms_exchanged(block, x):
    "norm1 and norm2 are exchanged"
    y = x + block.attn(block.norm2(x))
    return y + block.mlp(block.norm1(y))


@block_slips
def first_norm_twice(block, x):
    "norm1 is used twice"
    y = after_attention(block, x)
    return y + block.mlp(block.norm1(y))


@block_slips
def norms_missing(block, x):
    "the LayerNorms are missing"
    y = x + block.attn(x)
    return y + block.mlp(y)


@block_slips
def first_norm_missing(block, x):
    "the LayerNorm of attention is missing"
    y = x + block.attn(x)
    return y + block.mlp(block.norm2(y))


@block_slips
def second_norm_missing(block, x):
    "the LayerNorm of the MLP is missing"
    y = after_attention(block, x)
    return y + block.mlp(y)


@block_slips
def mlp_first(block, x):
    "the two branches are in the wrong order: attention comes first"
    y = x + block.mlp(block.norm2(x))
    return y + block.attn(block.norm1(y))


@exercise('03.1', 'a pre-norm block')
@torch.no_grad()
def check_block(my_block):
    "What a block makes of tokens, in three sizes."
    def closed(*_): raise Wrong('write it out from norm1, attn, norm2 and mlp, without block(x)')

    for images, tokens, dim, heads in [(1, 2, 4, 1), (2, 5, 8, 2), (2, 21, 16, 4)]:
        case = f'{images} image, {tokens} tokens, dim {dim}'
        block = Block(dim, heads).eval()
        for norm in (block.norm1, block.norm2):
            norm.weight.uniform_(.5, 2)
            norm.bias.uniform_(-1, 1)
        x = 2*torch.randn(images, tokens, dim) + 1
        truth = block(x)
        block.forward = closed
        answer = ask(my_block, block, x, case=case)
        compare(answer, truth, 'batch token dim', case, block_slips.of(block, x))
    return 'three sizes, attention and MLP, each with its LayerNorm and its residual'


# 03.2: the reference is no formula: PyTorch counts the operators of a real forward pass

cost_slips = Slips()


def sequence_lengths(model):
    "How many tokens each block reads, without the class token."
    config = model.config
    tokens = model.layout.n_tokens
    lengths = []
    for block in range(1, config['depth'] + 1):
        if block in config.get('mix_before', ()):
            at = config['mix_before'].index(block)
            tokens = model.layout.n_regions*config['n_mixed'][at]
        lengths.append(tokens)
    return lengths


def products_cost(model, lengths):
    "Multiply-adds of both attention products of blocks that read so many tokens."
    return sum(2*n*n*model.config['dim'] for n in lengths)


def attention_cost(model):
    "As PyTorch counts it."
    return count_cost(model)['parts']['attention products']


@cost_slips
def class_token_missing(model):
    "the class token was forgotten: it is in the sequence"
    return products_cost(model, sequence_lengths(model))


@cost_slips
def one_product(model):
    "one product was counted, there are two"
    return attention_cost(model)//2


@cost_slips
def doubled(model):
    "twice too much: FLOPs, or a batch of two images"
    return 2*attention_cost(model)


@cost_slips
def full_width_heads(model):
    "every head was given the full width: each has dim/heads"
    return attention_cost(model)*model.config['heads']


@cost_slips
def one_head(model):
    "one head was counted"
    return attention_cost(model)//model.config['heads']


@cost_slips
def one_block(model):
    "one block was counted"
    return products_cost(model, [model.layout.n_tokens + 1])


@cost_slips
def mixing_missing(model):
    "the mixing was forgotten: later blocks read fewer tokens"
    return products_cost(model, [model.layout.n_tokens + 1]*model.config['depth'])


@cost_slips
def mixed_one_block_late(model):
    "off by one block: tokens are mixed before the block, not after"
    lengths = [model.layout.n_tokens, *sequence_lengths(model)[:-1]]
    return products_cost(model, [n + 1 for n in lengths])


@cost_slips
def linear_cost(model):
    "linear in the tokens: every token meets every other"
    return sum(2*(n + 1)*model.config['dim'] for n in sequence_lengths(model))


@exercise('03.2', 'what the attention products cost')
def check_cost(attention_macs, why):
    "The multiply-adds of four models, and how they grow with the tokens."
    plain = ViT(8, (2,), dim=8, depth=3, heads=4)
    small = DEMSViT(8, (2, 4), mix_before=(2,), n_mixed=(2,), in_chans=1, dim=8, depth=3, heads=2)
    for case, model in [('a ViT of 17 tokens', plain), ('a small DEMS-ViT', small),
                        ('dems_nano', create_model('dems_nano')),
                        ('dems_tiny', create_model('dems_tiny'))]:
        answer = ask(attention_macs, model, case=case)
        truth = attention_cost(model)
        slips = cost_slips.of(model)
        compare_number(answer, truth, 'the number of multiply-adds', case, slips, eps=1e-9)
    compare_choice(why, 'b', {
        'a': 'every token meets every other: the table has tokens × tokens entries',
        'c': 'the width is the same in both; put 341 and 1361 into your function'})
    return ('four models, as PyTorch counts them; quadratic in the tokens: '
            '401 M of the 2,029 M of dems_tiny')


# 03.3

@exercise('03.3', 'a fifth scale')
def check_fifth_scale(five_scales):
    "A dems_tiny with a scale of 32 pixels, known by what it has: the chapter defines DEMSViT anew."
    model = ask(five_scales, case='five_scales()')
    config = getattr(model, 'config', {})
    if config.get('arch') != 'dems' or not hasattr(model, 'interactions'):
        raise Wrong(f'a DEMS-ViT is expected, this is {kind_of(model)}')
    side = config['image_size']
    if side != 32:
        raise Wrong(f'the image was changed: {side} pixels, and the fifth scale fits into 32')
    patches = config['patch_sizes']
    if patches == (1, 2, 4, 8, 16):
        raise Wrong('the fifth scale was added at the fine end: '
                    f'that makes {model.layout.n_tokens} tokens')
    if patches != (2, 4, 8, 16, 32): raise Wrong(f'patches {patches}, expected (2, 4, 8, 16, 32)')
    tiny = create_model('dems_tiny').config

    def check_same(key):
        if config[key] == tiny[key]: return
        raise Wrong(f'{key} is {config[key]}, in dems_tiny it is {tiny[key]}: '
                    'everything else stays')

    check_same('mix_before')
    n_mixed = config['n_mixed']
    if n_mixed == (64, 64):
        raise Wrong('n_mixed counts tokens a region, and there is one region now, not four: '
                    '64 leaves 65 tokens, not 257')
    if n_mixed != (256, 256):
        raise Wrong(f'n_mixed {n_mixed} leaves {[1 + n for n in n_mixed]} tokens, not 257')
    for key in tiny.keys() - {'patch_sizes', 'n_mixed'}: check_same(key)
    ledger = shape_ledger(model)
    lengths = [sizes[1] for stage, sizes in zip(ledger['stage'], ledger['sizes'])
               if stage.startswith('block')]
    return (f'one region of {model.layout.n_tokens} tokens; '
            f'the blocks read {lengths[0]} and then {lengths[-1]}')
