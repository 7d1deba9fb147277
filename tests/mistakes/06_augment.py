"Plausible wrong answers to the exercises of chapter 06: (words of the message, code)."

def p(code): return f'\ndef my_p(epoch, epochs, p0): return {code}\n'

def cutmix(box='slice(top, bottom), slice(left, right)', by='1, 0',
    share='(bottom - top)*(right - left)/(x.shape[2]*x.shape[3])',
    out='out, (1 - s)*target + s*target.roll(1, 0)', copy='x.clone()', other='x.roll({by})[at]'):
    return f'''
def my_cutmix(x, target, top, left, bottom, right):
    out, s, at = {copy}, {share}, (slice(None), slice(None), {box})
    out[at] = {other.format(by=by)}
    return {out}
'''

def variances(shared='table.mean(1).var(unbiased=False)',
    own='table.var(0, unbiased=False).mean()/table.shape[1]',
    out='shared.item(), own.item()', why='b'): return f'''
def two_variances(table):
    shared, own = {shared}, {own}
    return {out}
why = {why!r}
'''

def fit(fits='(0 < h) & (h <= height) & (0 < w) & (w <= width)',
    first='fits.int().argmax(1, keepdim=True)',
        out='torch.where(fits.any(1, keepdim=True), sides, whole)', with_matrix=True):
    return f'''
def first_fit(h, w, height, width):
    fits = {fits}
    first = {first}
    sides = torch.cat([h.gather(1, first), w.gather(1, first)], 1)
    whole = torch.tensor([height, width])
    return {out}
''' + (matrix(with_fit=False) if with_matrix else '')

def matrix(new='start + (torch.arange(size_out)[:, None] + .5)*length/size_out',
           old='torch.arange(size_in) + .5', weights='(1 - (old - new).abs()).clamp(min=0)',
           inside='(at >= start) & (at < start + length)',
           out='weights/weights.sum(2, keepdim=True)',
           box='', with_fit=True):
    return (fit(with_matrix=False) if with_fit else '') + f'''
def crop_matrix(start, length, size_in, size_out):
    {box or 'pass'}
    start, length = start[:, None, None], length[:, None, None]
    at = torch.arange(size_in)
    old = {old}
    new = {new}
    weights = ({weights})*({inside})
    return {out}
'''

mistakes = {
'06.1': [
    ('it is not halved', p('p0*(1 + math.cos(math.pi*epoch/epochs))')),
    ('it rises', p('p0*(1 - math.cos(math.pi*epoch/epochs))/2')),
    ('counted from 1', p('p0*(1 + math.cos(math.pi*(epoch + 1)/epochs))/2')),
    ('divide by E', p('p0*(1 + math.cos(math.pi*epoch/(epochs - 1)))/2')),
    ('a straight line', p('p0*(1 - epoch/epochs)')),
    ('this is frozen', p('p0')),
    ('a whole turn of the cosine', p('p0*(1 + math.cos(2*math.pi*epoch/epochs))/2')),
    ('a quarter of the cosine', p('p0*math.cos(math.pi/2*epoch/epochs)')),
    ('the angle is in degrees', p('p0*(1 + math.cos(180*epoch/epochs))/2')),
    ('π is missing', p('p0*(1 + math.cos(epoch/epochs))/2')),
    ('the cosine goes from 1 to −1', p('p0*math.cos(math.pi*epoch/epochs)')),
    ('cut off where it is negative', p('p0*max(0, math.cos(math.pi*epoch/epochs))')),
    ('was turned up', p('p0*abs(math.cos(math.pi*epoch/epochs))')),
    ('p0 is missing', p('(1 + math.cos(math.pi*epoch/epochs))/2')),
    ('this is a tuple', p('(p0,)*3'))],
'06.2': [
    ('is the next one, not the one before', cutmix(by='-1, 0')),
    ('the batch was turned round, last to first', cutmix(other='x.flip(0)[at]')),
    ('the batch of targets was turned round', cutmix(out='out, (1 - s)*target + s*target.flip(0)')),
    ('rows and columns of the box are swapped', cutmix('slice(left, right), slice(top, bottom)')),
    ('the hole is black', cutmix(other='0')),
    ('the box ends before bottom', cutmix('slice(top, bottom + 1), slice(left, right + 1)')),
    ('a picture already written over was copied', '''
def my_cutmix(x, target, top, left, bottom, right):
    out, s = x.clone(), (bottom - top)*(right - left)/(x.shape[2]*x.shape[3])
    for i in range(len(x)): out[i, :, top:bottom, left:right] = out[i - 1, :, top:bottom,
        left:right]
    return out, (1 - s)*target + s*target.roll(1, 0)
'''),
    ('channels were counted', cutmix(share='(bottom - top)*(right - left)/x[0].numel()')),
    ('nothing was cut', cutmix(out='x, (1 - s)*target + s*target.roll(1, 0)')),
    ('inside and outside are swapped', cutmix(copy='x.roll(1, 0)', other='x[at]')),
    ('argument 0 was changed in place', cutmix(copy='x')),
    ('the targets were not mixed', cutmix(out='out, target')),
    ('the shares are swapped', cutmix(out='out, s*target + (1 - s)*target.roll(1, 0)')),
    ('half and half', cutmix(share='.5')),
    ('the targets of the other picture alone', cutmix(share='1.')),
    ('mixed with the next target', cutmix(out='out, (1 - s)*target + s*target.roll(-1, 0)')),
    ('the sides were averaged',
     cutmix(share='((bottom - top)/x.shape[2] + (right - left)/x.shape[3])/2')),
    ('do not sum to 1', cutmix(out='out, target + s*target.roll(1, 0)')),
    ('axis 0 (batch) has size 1, not 3 (size 1 would broadcast', cutmix(out='out[:1], target')),
    ('roll without an axis moves single values', cutmix(by='1')),
    ('another axis: the batch is axis 0', cutmix(by='1, 3')),
    ('roll without an axis moves single numbers',
     cutmix(out='out, (1 - s)*target + s*target.roll(1)')),
    ('pictures first, then targets', cutmix(out='(1 - s)*target + s*target.roll(1, 0), out')),
    ('bottom and right were read as height and width',
     cutmix('slice(top, top + bottom), slice(left, left + right)')),
    ('the area is that of the box', cutmix(share='bottom*right/(x.shape[2]*x.shape[3])')),
    ('(bottom − top) · (right − left) pixels',
     cutmix(share='(bottom - top + 1)*(right - left + 1)/(x.shape[2]*x.shape[3])')),
    ('give pictures and targets', cutmix(out='out'))],
'06.3': [
    ('the two are swapped', variances(out='own.item(), shared.item()')),
    ('shared was given twice', variances(out='shared, shared')),
    ('own is not divided by the number', variances(own='table.var(0, unbiased=False).mean()')),
    ('divided by the number twice',
     variances(own='table.var(0, unbiased=False).mean()/table.shape[1]**2')),
    ('standard deviations, not variances', variances(out='shared**.5, own**.5')),
    ('divided by draws − 1',
     variances('table.mean(1).var()', 'table.var(0).mean()/table.shape[1]')),
    ('over the pictures, not over the draws',
     variances('table.mean(0).var(unbiased=False)',
         'table.var(1, unbiased=False).mean()/table.shape[1]')),
    ('average over the pictures first', variances('table.var(0, unbiased=False).mean()')),
    ('add those up', variances(own='table.mean(1).var(unbiased=False)/table.shape[1]')),
    ('own mixes up draws and pictures', variances(own='table.var(unbiased=False)/table.shape[1]')),
    ('own alone was divided by draws − 1', variances(own='table.var(0).mean()/table.shape[1]')),
    ('shared alone was divided by draws − 1', variances('table.mean(1).var()')),
    ('own is a sum of variances', variances(own='table.var(0, unbiased=False).sum()')),
    ('own is that of the first picture alone',
     variances(own='table[:, 0].var(unbiased=False)/table.shape[1]')),
    ('own is the variance of the first picture alone',
     variances(own='table[:, 0].var(unbiased=False)')),
    ('these are variances of the first picture',
     variances('table[:, 0].var(unbiased=False)',
         'table[:, 0].var(unbiased=False)/table.shape[1]')),
    ('one number, this is a Tensor of shape', variances(out='shared, table.var(0)')),
    ('give two numbers', variances(out='shared')),
    ('lean the same way',
     variances(why='a')), ('whether they cancel in the mean', variances(why='c'))],
'06.4': [
    ('the last try that fits',
     fit(first='h.shape[1] - 1 - fits.flip(1).int().argmax(1, keepdim=True)')),
    ('whether it fits or not', fit(first='torch.zeros_like(h[:, :1])', out='sides')),
    ('not the first try', fit(out='sides')),
    ('a try fits if both do, &', '''
def first_fit(h, w, height, width):
    def side(s, most):
        fits = (0 < s) & (s <= most)
        return torch.where(fits.any(1), s.gather(1, fits.int().argmax(1, keepdim=True))[:, 0], most)
    return torch.stack([side(h, height), side(w, width)], 1)
''' + matrix(with_fit=False)),
    ('both must hold, &', fit('((0 < h) & (h <= height)) | ((0 < w) & (w <= width))')),
    ('as high or as wide as the image fits, <=',
     fit('(0 < h) & (h < height) & (0 < w) & (w < width)')),
    ('a side of 0 was accepted', fit('(h <= height) & (w <= width)')),
    ('height and width are swapped', fit('(0 < h) & (h <= width) & (0 < w) & (w <= height)')),
    ('the two columns are swapped',
     fit(out='torch.where(fits.any(1, keepdim=True), sides, whole).flip(1)')),
    ('fits the first image: each has its own',
     fit('((0 < h) & (h <= height) & (0 < w) & (w <= width))[:1].expand_as(h)')),
    ('one row for each image', fit(out='torch.where(fits.any(1, keepdim=True), sides, whole).T')),
    ('dtype torch.float32, expected torch.int64',
     fit(out='torch.where(fits.any(1, keepdim=True), sides, whole)*1.')),
    ('axis 1 (side) has size 1, not 2', fit(out='first')),
    ('it loops over images', '''
def first_fit(h, w, height, width):
    out = torch.tensor([height, width]).repeat(len(h), 1)
    for i in range(len(h)):
        for a, b in zip(h[i], w[i]):
            if 0 < a <= height and 0 < b <= width: out[i, 0], out[i, 1] = a, b; break
    return out
''' + matrix(with_fit=False)),
    ('it loops over images', '''
def first_fit(h, w, height, width):
    out = np.full((len(h), 2), (height, width))
    for o, a, b in zip(out, h.numpy(), w.numpy()):
        k = np.flatnonzero((0 < a) & (a <= height) & (0 < b) & (b <= width))
        if len(k): o[:] = a[k[0]], b[k[0]]
    return torch.from_numpy(out)
''' + matrix(with_fit=False)),
    ('this is turned', matrix(out='(weights/weights.sum(2, keepdim=True)).mT')),
    ('not at pixel 0', matrix(box='start = start*0')),
    ('the whole picture was resized', matrix(box='start, length = start*0, length*0 + size_in')),
    ('inside the box alone', matrix(inside='at >= 0')),
    ('inside the box alone', matrix(inside='at >= 0', out='weights')),
    ('do not sum to 1: divide each by its sum', matrix(out='weights')),
    ('the half of the new pixel is missing',
     matrix('start + torch.arange(size_out)[:, None]*length/size_out')),
    ('the half of the old pixel is missing', matrix(old='torch.arange(size_in)')),
    ('both halves are missing',
     matrix('start + torch.arange(size_out)[:, None]*length/size_out',
         old='torch.arange(size_in)')),
    ('corners were aligned',
     matrix('start + .5 + torch.arange(size_out)[:, None]*(length - 1)/(size_out - 1)')),
    ('this takes the nearest old pixel', matrix(weights='(new.long() == at).float()')),
    ('these are the cubic weights of the chapter',
     matrix(out='resize_weights(start.flatten(), length.flatten(), size_in, size_out)')),
    ('the tent was widened',
     matrix(weights='(1 - (old - new).abs()/(length/size_out).clamp(min=1)).clamp(min=0)')),
    ('length was read as the end of the box', matrix(box='length = length - start')),
    ('every image has the box of the first',
     matrix(box='start, length = start[:1].expand_as(start), length[:1].expand_as(length)')),
    ('is length/size_out old ones wide',
     matrix('start + (torch.arange(size_out)[:, None] + .5)*size_out/length')),
    ('2 axes, not 3', matrix(out='weights[0]')),
    ('dtype torch.float64, expected torch.float32',
     matrix(out='(weights/weights.sum(2, keepdim=True)).double()')),
    ('it loops over images', fit(with_matrix=False) + '''
def crop_matrix(start, length, size_in, size_out):
    out = []
    for t, n in zip(start.tolist(), length.tolist()):
        box = torch.eye(size_in)[None, :, t:t + n]
        out.append(torch.nn.functional.interpolate(box, size_out, mode='linear')[0].T)
    return torch.stack(out)
''')]}

right = { # right answers, in another style than the folded one
'06.1': [p('p0*(1 + torch.cos(torch.tensor(math.pi*epoch/epochs)))/2')],
'06.3': ['''
def two_variances(table):
    t = table.numpy()
    return np.var(t.mean(1)), np.var(t, axis=0).sum()/t.shape[1]**2
why = 'b'
'''],
'06.2': ['''
def my_cutmix(x, target, top, left, bottom, right):
    hole = torch.zeros(x.shape[-2:])
    hole[top:bottom, left:right] = 1
    before = torch.arange(len(x)) - 1
    return x*(1 - hole) + x[before]*hole, torch.lerp(target, target[before], hole.mean())
'''],
'06.4': ['''
def first_fit(h, w, height, width):
    fits = (h > 0) & (h <= height) & (w > 0) & (w <= width)
    n = h.shape[1]
    at = torch.where(fits, torch.arange(n), n).amin(1)
    tries = torch.stack([h, w], 2)
    tries = torch.cat([tries, torch.tensor([height, width]).expand(len(h), 1, 2)], 1)
    return tries[torch.arange(len(h)), at]
def crop_matrix(start, length, size_in, size_out):
    centre = start[:, None] + (torch.arange(size_out) + .5)*length[:, None]/size_out - .5
    low = centre.floor()
    part = centre - low
    first, last = start[:, None], (start + length - 1)[:, None]
    hot = lambda at: torch.nn.functional.one_hot(torch.minimum(torch.maximum(at.long(), first),
        last), size_in)
    return hot(low)*(1 - part)[..., None] + hot(low + 1)*part[..., None]
''', '''
def first_fit(h, w, height, width):
    h, w = h.numpy(), w.numpy()
    fits = (h > 0) & (h <= height) & (w > 0) & (w <= width)
    k = fits.argmax(1)[:, None]
    sides = np.concatenate([np.take_along_axis(h, k, 1), np.take_along_axis(w, k, 1)], 1)
    return torch.from_numpy(np.where(fits.any(1)[:, None], sides, [height, width]))
''' + matrix(with_fit=False)]}
