"Plausible wrong answers to the exercises of chapter 07: (words of the message, code)."

def rate(e='step // steps', up='floor + (peak - floor)*e/max(warmup - 1, 1)', turn='math.pi*j/n',
    n='epochs - warmup', height='peak - floor', cond='e < warmup'):
    return f'''
def my_lr(step, steps, epochs, warmup, peak, floor):
    e = {e}
    n = {n}
    j = e - warmup
    return {up} if {cond} else floor + ({height})/2*(1 + math.cos({turn}))
'''

def loss(code, why='b', log='logits.log_softmax(1)'): return f'''
def soft_loss(logits, targets):
    log_p = {log}
    return {code}
why = {why!r}
'''

def common(code, why='b'): return f'''
def common_share(g):
    mean = lambda d: g.mean(d, keepdim=True).expand_as(g).square().sum()
    return {code}
why = {why!r}
'''

def luck(code, why='b', draw='np.random.default_rng(0).binomial(n, p, (20_000, k))/n'): return f'''
def luck(p, n, k):
    scores = {draw}
    return {code}
why = {why!r}
'''

mistakes = {
'07.1': [
    ('it is set once an epoch', rate('step/steps')),
    ('the step was taken for the epoch', rate('step')),
    ('both its ends are included', rate(up='floor + (peak - floor)*e/warmup')),
    ('it begins at the floor', rate(up='peak*e/max(warmup - 1, 1)')),
    ('its first epoch has the floor', rate(up='floor + (peak - floor)*(e + 1)/warmup')),
    ('it ends at the floor',
     '''
def my_lr(step, steps, epochs, warmup, peak, floor):
    e = step // steps
    if e < warmup: return lr_schedule(epochs, warmup, peak, floor)[e]
    return peak*(1 + math.cos(math.pi*(e - warmup)/(epochs - warmup)))/2
'''),
    ('that is the step inside the epoch', rate('step % steps')),
    ('stretched over all epochs', rate(n='epochs')),
    ('not after the warm-up', rate(turn='math.pi*e/epochs')),
    ('there is no warm-up', rate(turn='math.pi*e/epochs', cond='False')),
    ('off by one, j/(n-1)', rate(turn='math.pi*j/max(n - 1, 1)')),
    ('the first epoch of the cosine, j = 0, has the peak', rate(turn='math.pi*(j + 1)/n')),
    ('epoch `warmup` is the first of the cosine, so e < warmup', rate(cond='e <= warmup')),
    ('the rates are right, and lr_schedule made them', '''
def my_lr(step, steps, epochs, warmup, peak, floor):
    return lr_schedule(epochs, warmup, peak, floor)[step//steps]
'''),
    ('the rates are right, and loop_lr made them', '''
def my_lr(step, steps, epochs, warmup, peak, floor):
    def rates(): return torch.tensor(loop_lr(epochs, warmup, peak, floor))
    return rates()[step//steps]
'''),
    ('half a cosine ends at π', rate(turn='2*math.pi*j/n')),
    ('the floor is added on top', rate(height='peak')),
    ('raised ZeroDivisionError', rate(up='floor + (peak - floor)*e/(warmup - 1)')),
    ('one number, not',
     '''
def my_lr(step, steps, epochs, warmup, peak, floor):
    return lr_schedule(epochs, warmup, peak, floor)
''')],
'07.2': [
    ('the mean was taken over the classes too', loss('-(targets*log_p).mean()')),
    ('the images were summed', loss('-(targets*log_p).sum()')),
    ('softmax over the wrong axis, the images',
     loss('-(targets*log_p).sum(1).mean()', log='logits.log_softmax(0)')),
    ('the sign is wrong', loss('(targets*log_p).sum(1).mean()')),
    ('yes or no', loss('nn.functional.binary_cross_entropy_with_logits(logits, targets)')),
    ('this is a squared error', loss('((logits.softmax(1) - targets)**2).sum(1).mean()')),
    ('the logarithm is missing', loss('-(targets*logits.softmax(1)).sum(1).mean()')),
    ('softmax was taken twice',
     loss('-(targets*log_p).sum(1).mean()', log='logits.softmax(1).log_softmax(1)')),
    ('the targets were made hard', loss('nn.functional.cross_entropy(logits, targets.argmax(1))')),
    ('that is the divergence', loss('nn.functional.kl_div(log_p, targets, reduction="batchmean")')),
    ('left the range of float32',
     loss('-(targets*log_p).sum(1).mean()', log='logits.softmax(1).log()')),
    ('left the range of float32',
     loss('-(targets*log_p).sum(1).mean()',
         log='logits - logits.exp().sum(1, keepdim=True).log()')),
    ('left the range of float32',
     loss('-(targets*log_p).sum(1).mean().item()', log='logits.softmax(1).log()')),
    ('the loss is one number, this is a Tensor of shape (2,)', loss('-(targets*log_p).sum(1)')),
    ('and cross_entropy made it', loss('nn.functional.cross_entropy(logits, targets)')),
    ('and cross_entropy made it', loss('SoftCrossEntropy()(logits, targets)')),
    ('it loops over images', '''
def soft_loss(logits, targets):
    return -sum((t*x.log_softmax(0)).sum() for x, t in zip(logits, targets))/len(logits)
why = 'b'
'''),
    ('it loops over images', '''
def soft_loss(logits, targets):
    total = 0.
    for row, shares in zip(logits.double().tolist(), targets.tolist()):
        top = max(row)
        norm = top + math.log(sum(math.exp(l - top) for l in row))
        total += sum(-share*(l - norm) for l, share in zip(row, shares))
    return total/len(logits)
why = 'b'
'''),
    ('probabilities sum to 1', loss('-(targets*log_p).sum(1).mean()', 'a')),
    ('a better one pays less', loss('-(targets*log_p).sum(1).mean()', 'c'))],
'07.3': [
    ('over the images: axis 2', common('mean(0)/g.square().sum()')),
    ('over the regions: axis 2', common('mean(1)/g.square().sum()')),
    ('over the dims: axis 2', common('mean(3)/g.square().sum()')),
    ('the common part was counted once', common('g.mean(2).square().sum()/g.square().sum()')),
    ('the sum was taken, not the mean',
     common('g.sum(2, keepdim=True).expand_as(g).square().sum()/g.square().sum()')),
    ('and not divided by L', common('g.sum(2).square().sum()/g.square().sum()')),
    ('these are lengths: square them', common('(mean(2)/g.square().sum()).sqrt()')),
    ('absolute values were summed',
     common('g.mean(2, keepdim=True).expand_as(g).abs().sum()/g.abs().sum()')),
    ('the shares of images were averaged',
     common('(g.mean(2).square().sum((1, 2))*g.shape[2]/g.square().sum((1, 2, 3))).mean()')),
    ('counted 8 times, as in dems_nano', common('g.mean(2).square().sum()*8/g.square().sum()')),
    ('var divides by L − 1', common('1 - g.var(2).sum()*g.shape[2]/g.square().sum()')),
    ('1 minus it', common('1 - mean(2)/g.square().sum()')),
    ('sum first, then divide',
     common('(g.mean(2).square().sum(-1)*g.shape[2]/g.square().sum((2, 3))).mean()')),
    ('the gradient of the mixed tokens is not zero', common('mean(2)/g.square().sum()', 'a')),
    ('the columns are nearly equal', common('mean(2)/g.square().sum()', 'c'))],
'07.4': [
    ('this is the best score itself', luck('scores.max(1).mean()')),
    ('this is in percent', luck('100*(scores.max(1).mean() - p)')),
    ('one standard deviation', luck('scores.std()')),
    ('half of the 95 % interval', luck('1.96*scores.std()')),
    ('√(2 log k)', luck('scores.std()*np.sqrt(2*np.log(k))')),
    ('these are pictures: divide by n', luck('(n*scores).max(1).mean() - n*p')),
    ('n and k are swapped',
     luck('scores.max(1).mean() - p',
         draw='np.random.default_rng(0).binomial(k, p, (20_000, n))/k')),
    ('farthest from p, above or below', luck('abs(scores - p).max(1).mean()')),
    ('too seldom: take 10,000 rows',
     luck('scores.max(1).mean() - p', draw='np.random.default_rng(8).binomial(n, p, (1, k))/n')),
    ('too seldom: take 10,000 rows',
     luck('scores.max(1).mean() - p', draw='np.random.default_rng(0).binomial(n, p, (100, k))/n')),
    ('one call gives', luck('scores.max(1).mean() - p', draw='np.random.binomial(n, p, (1, k))/n')),
    ('too seldom: take 10,000 rows',
     luck('scores.max(1).mean() - p', draw='np.random.default_rng(3).binomial(n, p, (40, k))/n')),
    ('divide by n', luck('n*scores.max(1).mean() - p')),
    ('the mean of the scores was taken', luck('p - p')),
    ('the worst score was taken', luck('scores.min(1).mean() - p')),
    ('measure from the true accuracy', luck('(scores.max(1) - scores.min(1)).mean()')),
    ('one score of all images together', luck('scores.mean(1).std()')),
    ('the best of all that was simulated', luck('scores.max(0).mean() - p')),
    ('the best of all that was simulated',
     luck('scores.max() - p', draw='np.random.default_rng(0).binomial(n, p, (10_000, k))/n')),
    ('the gain is one number', luck('scores.max(1) - p')),
    ('each score spreads as much as before', luck('scores.max(1).mean() - p', 'a')),
    ('has k equal scores', luck('scores.max(1).mean() - p', 'c'))]}

right = { # right answers, in another style than the folded one
'07.1': ['''
def my_lr(step, steps, epochs, warmup, peak, floor):
    e = int(step/steps)
    if e < warmup: return floor if warmup == 1 else floor*(1 - e/(warmup - 1)) + peak*e/(warmup - 1)
    return floor + (peak - floor)*np.cos(np.pi*(e - warmup)/(epochs - warmup)/2)**2
'''],
'07.2': ['''
def soft_loss(logits, targets):
    logits, targets = logits.double().numpy(), targets.numpy()
    top = logits.max(1, keepdims=True)
    return (targets*(top + np.log(np.exp(logits - top).sum(1,
        keepdims=True)) - logits)).sum()/len(logits)
why = 'b'
''', '''
def soft_loss(logits, targets): return -torch.einsum('bc,bc->b', logits.log_softmax(-1),
    targets).mean().item()
why = 'b'
'''],
'07.4': ['''
def luck(p, n, k):
    torch.manual_seed(1)
    right = torch.distributions.Binomial(n, torch.tensor(p)).sample((10_000, k))
    return (right.amax(1)/n).mean() - p
why = 'b'
''', '''
def luck(p, n, k):
    best = [max(np.random.default_rng(i).binomial(n, p, k)) for i in range(5000)]
    return sum(best)/len(best)/n - p
why = 'b'
'''],
'07.3': ['''
def common_share(g):
    products = g.double() @ (1.1*g).double().mT
    return products.sum()/1.1/g.shape[2]/g.double().square().sum()
why = 'b'
''', '''
def common_share(g): # with some rounding, as it were
    return (g.sum(2) + 1e-6).square().sum()/g.shape[2]/g.square().sum()
why = 'b'
''']}
