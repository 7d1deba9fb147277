"Plausible wrong answers to the exercises of chapter 02: (words of the message, code)."

def interaction(scores='mix.scale * mix.mlp(mix.norm(x))', D='scores.softmax(dim=-2)',
    out='D.transpose(-2, -1) @ x'):
    return f'''
def my_interaction(mix, x):
    scores = {scores}
    D = {D}
    return {out}
'''

def perplexity(code, why='b'): return f'''
def perplexity(D): return {code}
why = {why!r}
'''

def effective(code, why='c'): return f'''
def effective_tokens(x):
    s = torch.linalg.svdvals(x)
    p = s**2/(s**2).sum()
    entropy = lambda p: torch.special.entr(p).sum()
    return {code}
why = {why!r}
'''

PLAIN = 'self.norm(x) @ self.queries.T / x.shape[-1]**.5'

def mixing(scores='self.norm(x) @ self.queries.T / x.shape[-1]**.5',
    weights='scores.softmax(dim=-2)', out='self.weights(x).mT @ x',
    queries='nn.Parameter(torch.randn(n_mixed, dim))', more='0'):
    return f'''
class QueryMixing(nn.Module):
    def __init__(self, dim, n_mixed):
        super().__init__()
        self.norm, self.queries = nn.LayerNorm(dim, elementwise_affine=False), {queries}
        self.more = {more}
    def weights(self, x):
        scores = {scores}
        return {weights}
    def forward(self, x): return {out}
'''

mistakes = {
'02.1': [
    ('softmax over the wrong axis: over the mixed tokens', interaction(D='scores.softmax(dim=-1)')),
    ('softmax over the wrong axis: over the regions', interaction(D='scores.softmax(dim=1)')),
    ('the normalised tokens were mixed', interaction(out='D.transpose(-2, -1) @ mix.norm(x)')),
    ('the scalar s is missing', interaction('mix.mlp(mix.norm(x))')),
    ('the scalar s is applied after the softmax',
     interaction('mix.mlp(mix.norm(x))', out='mix.scale * D.mT @ x')),
    ('the scalar s is applied before the MLP', interaction('mix.mlp(mix.scale * mix.norm(x))')),
    ('without mix(x)', 'def my_interaction(mix, x): return mix(x)'),
    ('without mix(x)', 'def my_interaction(mix, x): return mix.forward(x)'),
    ('without mix(x)', 'def my_interaction(mix, x): return mix.weights(x).mT @ x'),
    ('the LayerNorm is missing', interaction('mix.scale * mix.mlp(x)')),
    ('the softmax is missing', interaction(D='scores')),
    ('forgot to transpose D', interaction(out='D @ x if D.shape[-1] == x.shape[-2] else D.mT @ x')),
    ('these are the weights D', interaction(out='D')),
    ('3 axes, not 4', interaction(out='(D.mT @ x).flatten(1, 2)')),
    ('size 1 would broadcast', interaction(out='(D.mT @ x).mean(2, keepdim=True)')),
    ('raised RuntimeError', interaction(out='D @ x'))],
'02.2': [
    ('perplexity is its exponential', perplexity('torch.special.entr(D).sum(1)')),
    ('needs e to its power, not 2', perplexity('2**torch.special.entr(D).sum(1)')),
    ('another count', perplexity('1/D.square().sum(1)')),
    ('summed over the wrong axis', perplexity('torch.special.entr(D).sum(2).exp()')),
    ('the sign is wrong', perplexity('(D * D.clamp_min(1e-12).log()).sum(1).exp()')),
    ('counts as 0, not as nan', perplexity('torch.exp(-(D * D.log()).sum(1))')),
    ('summed over the wrong axis',
     perplexity('torch.exp(-(D * D.log()).sum(2))')), ('in bits needs 2',
         perplexity('torch.exp(-(D * D.log2()).sum(1))')),
    ('the sign is wrong',
     perplexity('torch.exp((D * D.log()).sum(1))')), ('perplexity is its exponential',
         perplexity('-(D * D.log()).sum(1)')),
    ('in bits needs 2', perplexity('(-(D * D.clamp_min(1e-12).log2()).sum(1)).exp()')),
    ('summed over the regions', perplexity('torch.special.entr(D).sum(0).exp()')),
    ('1 axes, not 2', perplexity('torch.special.entr(D).sum(1).exp().mean(0)')),
    ('ten times that is still little', perplexity('torch.special.entr(D).sum(1).exp()', 'a')),
    ('not what they are multiplied with', perplexity('torch.special.entr(D).sum(1).exp()', 'c'))],
'02.3': [
    ('not squared', effective('entropy(s/s.sum()).exp()')),
    ('not exponentiated', effective('entropy(p)')),
    ('the mean was taken away first', '''
def effective_tokens(x):
    s = torch.linalg.svdvals(x - x.mean(0))**2
    return torch.special.entr(s/s.sum()).sum().exp()
why = 'c'
'''),
    ('0 · log 0 counts as 0, not as nan', effective('torch.exp(-(p*p.log()).sum())')),
    ('0 · log 0 counts as 0, not as nan', effective('float(torch.exp(-(p*p.log()).sum()))')),
    ('the shares do not sum to 1', effective('entropy(s**2).exp()')),
    ('this is the rank', effective('torch.linalg.matrix_rank(x)')),
    ('the tokens were counted', effective('len(x)')),
    ('this is a Tensor of shape', effective('torch.special.entr(p).exp()')),
    ('nearly the same weights', effective('entropy(p).exp()', 'a')),
    ('size is not what is lost', effective('entropy(p).exp()', 'b'))],
'02.4': [
    ('softmax over the wrong axis, the mixed tokens', mixing(weights='scores.softmax(dim=-1)')),
    ('softmax over the tokens of all regions at once',
     mixing(weights='scores.flatten(1, 2).softmax(1).view_as(scores)')),
    ('there is no softmax', mixing(weights='scores.abs()')),
    ('some weights are negative', mixing(weights='scores')),
    ('the normalised tokens were mixed', mixing(out='self.weights(x).mT @ self.norm(x)')),
    ('make them an nn.Parameter', mixing(queries='torch.randn(n_mixed, dim)')),
    ('make them an nn.Parameter',
     mixing(queries='torch.randn(n_mixed, dim)').replace(', elementwise_affine=False', '')),
    ('regions talk to each other', mixing(f'{PLAIN} * x.mean((1, 2), keepdim=True)[..., :1]')),
    ('the order of the tokens matters', mixing(f'{PLAIN} + torch.arange(x.shape[2])[:, None]')),
    ('give each a query of its own',
     mixing(queries='nn.Parameter(torch.randn(1, dim).repeat(n_mixed, 1))')),
    ('all weights are equal', mixing(queries='nn.Parameter(torch.zeros(n_mixed, dim))')),
    ('axis 3 (mixed) has size 1, not 3 (size 1 would broadcast',
     mixing(queries='nn.Parameter(torch.randn(1, dim))')),
    ('the √dim is missing', mixing('self.norm(x) @ self.queries.T')),
    ('divided by √n_mixed', mixing('self.norm(x) @ self.queries.T / self.queries.shape[0]**.5')),
    ('divided by dim', mixing('self.norm(x) @ self.queries.T / x.shape[-1]')),
    ('has the same LayerNorm', mixing('x @ self.queries.T / x.shape[-1]**.5')),
    ('has the same LayerNorm',
     mixing('nn.functional.normalize(x, dim=-1) @ self.queries.T / x.shape[-1]**.5')),
    ('the queries are normalised',
     mixing('self.norm(x) @ nn.functional.normalize(self.queries, dim=1).T / x.shape[-1]**.5')),
    ('a bias or a key projection',
     mixing('self.queries(self.norm(x)) / x.shape[-1]**.5', queries='nn.Linear(dim, n_mixed)')),
    ('a bias or a key projection',
     mixing('self.more(self.norm(x)) @ self.queries.T / x.shape[-1]**.5',
         more='nn.Linear(dim, dim, bias=False)')),
    ('a scalar like s', mixing(f'{PLAIN}*self.more', more='nn.Parameter(torch.ones(()))')),
    ('no parameters of shape (n_mixed, dim)', 'class QueryMixing(RegionalInteraction): pass'),
    ('2 parameters of shape (n_mixed, dim)',
     mixing(f'{PLAIN} + 0*self.more.sum()', more='nn.Parameter(torch.ones(n_mixed, dim))')),
    ('the √dim is missing',
     mixing('torch.stack([self.norm(x) @ q for q in self.queries], -1)',
         queries='nn.ParameterList(torch.randn(dim) for _ in range(n_mixed))')),
    ('the queries cannot learn',
     mixing(queries='nn.Parameter(torch.randn(n_mixed, dim), requires_grad=False)')),
    ('the queries cannot learn', mixing(out='self.weights(x).detach().mT @ x')),
    ('the queries cannot learn',
     mixing().replace('    def weights', '    @torch.no_grad()\n    def weights')),
    ('7 tokens a region: raised RuntimeError',
     mixing(weights='scores.softmax(dim=-2).view(-1, x.shape[1], 21, scores.shape[-1])')),
    ('9 regions: forward: raised RuntimeError',
     mixing(out='(self.weights(x).mT @ x).view(len(x), 4, 3, 8)')),
    ('dim 12, 5 mixed tokens, 9 regions: softmax of LayerNorm(x) · query/√dim',
     mixing('self.norm(x) @ self.queries.T * (1/8)**.5')),
    ('no method weights',
     'class QueryMixing(nn.Module):\n    def __init__(self, dim, n_mixed): super().__init__()'),
    ('an nn.Module is expected', 'class QueryMixing:\n    def __init__(self, dim, n_mixed): pass')]}

right = { # right answers, in another style than the folded one
'02.1': [interaction(), '''
def my_interaction(mix, x):
    s = mix.scale * mix.mlp(mix.norm(x))
    e = (s - s.amax(2, keepdim=True)).exp()
    return torch.stack([(e[..., l:l+1]/e[..., l:l+1].sum(2, keepdim=True)*x).sum(2)
        for l in range(mix.n_mixed)], 2)
'''],
'02.2': [perplexity('torch.special.entr(D).sum(1).exp()'),
    perplexity('(1/D.clamp_min(1e-30)**D).prod(1)'),
        perplexity('2**(-(D*D.log2()).nan_to_num(0).sum(1))')],
'02.3': [effective('float(1/torch.prod(p**p))'), effective('torch.exp(-torch.xlogy(p, p).sum())'),
    effective('torch.special.entr(p).sum().exp()[None, None]')],
'02.4': [mixing(), mixing('(self.norm(x) @ self.queries.T).div_(x.shape[-1]**.5)'),
         mixing(queries='nn.Parameter(.02*torch.randn(n_mixed, dim))'),
         mixing('self.norm(x) @ self.queries / x.shape[-1]**.5',
             queries='nn.Parameter(torch.randn(dim, n_mixed))'),
         mixing('self.queries(self.norm(x)) * x.shape[-1]**-.5',
             queries='nn.Linear(dim, n_mixed, bias=False)'
                ).replace(', elementwise_affine=False', ''),
         mixing('torch.stack([self.norm(x) @ q for q in self.queries], -1)/x.shape[-1]**.5',
             queries='nn.ParameterList(torch.randn(dim) for _ in range(n_mixed))'),
         mixing('(self.norm(x)[..., None, :] * self.queries).sum(-1)/x.shape[-1]**.5',
             queries='nn.Parameter(torch.randn(1, 1, 1, n_mixed, dim))')]}
