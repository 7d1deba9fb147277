"Plausible wrong answers to the exercises of chapter 06: (what the message must name, the answer's code)."

def p(code): return f'\ndef my_p(epoch, epochs, p0): return {code}\n'

def cutmix(box='slice(top, bottom), slice(left, right)', by='1, 0', share='(bottom - top)*(right - left)/(x.shape[2]*x.shape[3])', out='out, (1 - s)*target + s*target.roll(1, 0)', copy='x.clone()', other='x.roll({by})[at]'):
    return f'''
def my_cutmix(x, target, top, left, bottom, right):
    out, s, at = {copy}, {share}, (slice(None), slice(None), {box})
    out[at] = {other.format(by=by)}
    return {out}
'''

def variances(shared='table.mean(1).var(unbiased=False)', own='table.var(0, unbiased=False).mean()/table.shape[1]', out='shared.item(), own.item()', why='b'): return f'''
def two_variances(table):
    shared, own = {shared}, {own}
    return {out}
why = {why!r}
'''

def erase(unbind='top, left, h, w', rows='(row >= top) & (row < top + h)', columns='(column >= left) & (column < left + w)', out='x.masked_fill(hole[:, None], 0)', box='box'): return f'''
def erase(x, box):
    {unbind} = {box}[:, :, None].unbind(1)
    row, column = torch.arange(x.shape[2]), torch.arange(x.shape[3])
    rows, columns = {rows}, {columns}
    hole = rows[:, :, None] & columns[:, None, :]
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
    for i in range(len(x)): out[i, :, top:bottom, left:right] = out[i - 1, :, top:bottom, left:right]
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
    ('the sides were averaged', cutmix(share='((bottom - top)/x.shape[2] + (right - left)/x.shape[3])/2')),
    ('do not sum to 1', cutmix(out='out, target + s*target.roll(1, 0)')),
    ('axis 0 (batch) has size 1, not 3 (size 1 would broadcast', cutmix(out='out[:1], target')),
    ('give pictures and targets', cutmix(out='out'))],
'06.3': [
    ('the two are swapped', variances(out='own.item(), shared.item()')),
    ('shared was given twice', variances(out='shared, shared')),
    ('own is not divided by the number', variances(own='table.var(0, unbiased=False).mean()')),
    ('divided by the number twice', variances(own='table.var(0, unbiased=False).mean()/table.shape[1]**2')),
    ('standard deviations, not variances', variances(out='shared**.5, own**.5')),
    ('divided by draws − 1', variances('table.mean(1).var()', 'table.var(0).mean()/table.shape[1]')),
    ('over the pictures, not over the draws', variances('table.mean(0).var(unbiased=False)', 'table.var(1, unbiased=False).mean()/table.shape[1]')),
    ('average over the pictures first', variances('table.var(0, unbiased=False).mean()')),
    ('add those up', variances(own='table.mean(1).var(unbiased=False)/table.shape[1]')),
    ('own mixes up draws and pictures', variances(own='table.var(unbiased=False)/table.shape[1]')),
    ('one number, this is a Tensor of shape', variances(out='shared, table.var(0)')),
    ('give two numbers', variances(out='shared')),
    ('lean the same way', variances(why='a')), ('whether they cancel in the mean', variances(why='c'))],
'06.4': [
    ('every image has the box of the first', erase(box='box[:1].expand_as(box)')),
    ('rows and columns are swapped', erase('left, top, w, h')),
    ('height and width are swapped', erase('top, left, w, h')),
    ('read as bottom and right', erase(rows='(row >= top) & (row < h)', columns='(column >= left) & (column < w)')),
    ('the box ends before top + height', erase(rows='(row >= top) & (row <= top + h)', columns='(column >= left) & (column <= left + w)')),
    ('the box is too small', erase(rows='(row >= top) & (row < top + h - 1)', columns='(column >= left) & (column < left + w - 1)')),
    ('the rest erased', erase(out='x*hole[:, None]')),
    ('nothing was erased', erase(out='x')),
    ('only the first channel', erase(out='torch.cat([x[:, :1].masked_fill(hole[:, None], 0), x[:, 1:]], 1)')),
    ('erased in every image', erase(out='x.masked_fill(hole.any(0), 0)')),
    ('both must hold, &', erase(out='x.masked_fill((rows[:, :, None] | columns[:, None, :])[:, None], 0)')),
    ('argument 0 was changed in place', erase(out='x.masked_fill_(hole[:, None], 0)')),
    ('axis 0 (batch) has size 1, not 2 (size 1 would broadcast', erase(out='x.masked_fill(hole[:, None], 0)[:1]')),
    ('it loops over images', '''
def erase(x, box):
    out = x.clone()
    for im, (t, l, h, w) in zip(out, box.tolist()): im[:, t:t+h, l:l+w] = 0
    return out
''')]}

right = {                                                        # right answers, in another style than the folded one
'06.1': [p('p0*(1 + torch.cos(torch.tensor(math.pi*epoch/epochs)))/2')],
'06.3': ['''
def two_variances(table):
    t = table.numpy()
    return np.var(t.mean(1)), np.var(t, axis=0).sum()/t.shape[1]**2
why = 'b'
''']}
