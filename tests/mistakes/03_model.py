"Plausible wrong answers to the exercises of chapter 03: (words of the message, code)."

def block(*lines): return '\ndef my_block(block, x):\n    ' + '\n    '.join(lines) + '\n'

LENGTHS = ("[s[1] for stage, s in zip(ledger.stage, ledger.sizes) "
           "if stage.startswith('block')]")

def macs(body, why='b', lengths=LENGTHS):
    return f'''
def attention_macs(model):
    ledger, c = shape_ledger(model), model.config
    tokens = {lengths}
    return {body}
why = {why!r}
'''

def five(code): return f'\ndef five_scales(): return {code}\n'

mistakes = {
'03.1': [
    ('both residuals are forgotten',
     block('x = block.attn(block.norm1(x))', 'return block.mlp(block.norm2(x))')),
    ('the first residual is forgotten',
     block('x = block.attn(block.norm1(x))', 'return x + block.mlp(block.norm2(x))')),
    ('the second residual is forgotten',
     block('x = x + block.attn(block.norm1(x))', 'return block.mlp(block.norm2(x))')),
    ('this is post-norm',
     block('x = block.norm1(x + block.attn(x))', 'return block.norm2(x + block.mlp(x))')),
    ('the residual takes the normalised tokens',
     block('x = block.norm1(x)', 'x = x + block.attn(x)', 'return x + block.mlp(block.norm2(x))')),
    ('the residuals take the normalised tokens',
     block('x = block.norm1(x)', 'x = x + block.attn(x)', 'x = block.norm2(x)',
         'return x + block.mlp(x)')),
    ('norm1 and norm2 are exchanged',
     block('x = x + block.attn(block.norm2(x))', 'return x + block.mlp(block.norm1(x))')),
    ('reads the input of the block',
     block('return x + block.attn(block.norm1(x)) + block.mlp(block.norm2(x))')),
    ('attention is lost',
     block('y = x + block.attn(block.norm1(x))', 'return x + block.mlp(block.norm2(y))')),
    ('norm1 is used twice',
     block('x = x + block.attn(block.norm1(x))', 'return x + block.mlp(block.norm1(x))')),
    ('the LayerNorms are missing', block('x = x + block.attn(x)', 'return x + block.mlp(x)')),
    ('the LayerNorm of attention is missing',
     block('x = x + block.attn(x)', 'return x + block.mlp(block.norm2(x))')),
    ('the LayerNorm of the MLP is missing',
     block('x = x + block.attn(block.norm1(x))', 'return x + block.mlp(x)')),
    ('without block(x)',
     block('return block(x)')), ('without block(x)', block('return block.forward(x)')),
    ('attention comes first',
     block('x = x + block.mlp(block.norm2(x))', 'return x + block.attn(block.norm1(x))')),
    ('argument 1 was changed in place',
     block('x += block.attn(block.norm1(x))', 'return x + block.mlp(block.norm2(x))')),
    ('size 1 would broadcast',
     block('x = x + block.attn(block.norm1(x))',
         'return (x + block.mlp(block.norm2(x))).mean(1, keepdim=True)'))],
'03.2': [
    ('the class token was forgotten', macs("sum(2*(n - 1)**2*c['dim'] for n in tokens)")),
    ('one product was counted', macs("sum(n*n*c['dim'] for n in tokens)")),
    ('twice too much: FLOPs', macs("sum(4*n*n*c['dim'] for n in tokens)")),
    ('every head was given the full width', macs("sum(2*n*n*c['dim']*c['heads'] for n in tokens)")),
    ('one head was counted', macs("sum(2*n*n*c['dim']//c['heads'] for n in tokens)")),
    ('the mixing was forgotten', macs("c['depth']*2*tokens[0]**2*c['dim']")),
    ('one block was counted', macs("2*tokens[0]**2*c['dim']")),
    ('tokens are mixed before the block, not after',
     macs("sum(2*n*n*c['dim'] for n in [tokens[0], *tokens[:-1]])")),
    ('linear in the tokens', macs("sum(2*n*c['dim'] for n in tokens)")),
    ('tokens × tokens entries', macs("sum(2*n*n*c['dim'] for n in tokens)", 'a')),
    ('the width is the same in both', macs("sum(2*n*n*c['dim'] for n in tokens)", 'c'))],
'03.3': [
    ('one region now, not four', five("create_model('dems_tiny', n_scales=5)")),
    ('mix_before is (6,), in dems_tiny it is (6, 10)',
     five("create_model('dems_tiny', n_scales=5, mix_before=(6,), n_mixed=(256,))")),
    ('added at the fine end',
     five("create_model('dems_tiny', n_scales=5, patch_size=1, n_mixed=(64, 64))")),
    ('the image was changed',
     five("create_model('dems_tiny', n_scales=5, image_size=64, n_mixed=(64, 64))")),
    ('leaves [257, 129] tokens', five("create_model('dems_tiny', n_scales=5, n_mixed=(256, 128))")),
    ('expected (2, 4, 8, 16, 32)', five("create_model('dems_tiny', n_mixed=(256, 256))")),
    ('this is a ViT', five("create_model('vit_tiny', n_scales=5)")),
    ('in dems_tiny it is 192',
     five("create_model('dems_small', n_scales=5, n_mixed=(256, 256), heads=3)"))]}

right = {'03.1': [block('y = block.attn(block.norm1(x)) + x',
    'return y.add(block.mlp(block.norm2(y)))')],
         '03.3': [five("DEMSViT(32, (2, 4, 8, 16, 32), n_mixed=(256, 256))"),
             five("create_model('dems_tiny', patch_sizes=(2, 4, 8, 16, 32), n_mixed=(256, 256))"),
                  five("build_model({**create_model('dems_tiny').config, "
                       "'patch_sizes': (2, 4, 8, 16, 32), 'n_mixed': (256, 256)})")]}
