"Properties of the geometry, over many sizes."
import pytest, torch
from hypothesis import given, settings, strategies as st
from dems_nb.layout import TokenLayout, correspondence_map

settings.register_profile('dems', deadline=None, max_examples=60, derandomize=True)
settings.load_profile('dems')

grids = st.tuples(st.integers(1, 9), st.integers(1, 6)).map(lambda t: (t[0]*t[1], t[0]))

@st.composite
def layouts(draw):
    patches = [draw(st.integers(1, 4))]
    for _ in range(draw(st.integers(0, 3))): patches.append(patches[-1]*draw(st.integers(2, 3)))
    return TokenLayout(patches[-1]*draw(st.integers(1, 3)), tuple(patches))

def loop_map(fine, coarse):
    n = fine//coarse
    return [[(n*R + i)*fine + n*C + j for i in range(n) for j in range(n)]
            for R in range(coarse) for C in range(coarse)]

@given(grids)
def test_map_is_the_loop_and_a_partition(g):
    fine, coarse = g
    m = correspondence_map(fine, coarse)
    assert m.shape == (coarse**2, (fine//coarse)**2) and m.dtype == torch.int64
    assert m.tolist() == loop_map(fine, coarse)
    assert sorted(m.flatten().tolist()) == list(range(fine**2))

@given(layouts())
def test_order_is_a_permutation(l):
    assert l.order.dtype == torch.int64 and sorted(l.order.tolist()) == list(range(l.n_tokens))
    assert l.n_regions*l.tokens_per_region == l.n_tokens == sum(g*g for g in l.grids)

@given(layouts())
def test_boxes_tile_the_image_at_each_scale(l):
    for k, p in enumerate(l.patch_sizes):
        canvas = torch.zeros(l.image_size, l.image_size, dtype=torch.long)
        for x0, y0, x1, y1 in l.boxes[l.scale == k].tolist():
            assert (x1 - x0, y1 - y0) == (p, p)
            canvas[y0:y1, x0:x1] += 1
        assert (canvas == 1).all()

@given(layouts())
def test_order_boxes_and_cells_tell_the_same_story(l):
    "The token at a position sits where its scale-by-scale index says."
    starts = [sum(g*g for g in l.grids[:k]) for k in range(len(l.grids))]
    for pos in range(0, l.n_tokens, max(1, l.n_tokens//50)):
        k = int(l.scale[pos])
        r, c = divmod(int(l.order[pos]) - starts[k], l.grids[k])
        p = l.patch_sizes[k]
        assert l.cells[pos].tolist() == [r, c]
        assert l.boxes[pos].tolist() == [c*p, r*p, c*p + p, r*p + p]

@given(layouts())
def test_regions_are_blocks_from_fine_to_coarse(l):
    T, side = l.tokens_per_region, l.patch_sizes[-1]
    for r in range(l.n_regions):
        block = slice(r*T, (r + 1)*T)
        y, x = divmod(r, l.grids[-1])
        b = l.boxes[block]
        assert (b >= torch.tensor([x, y, x, y]) *side).all()
        assert (b <= torch.tensor([x+1, y+1, x+1, y+1])*side).all()
        assert l.scale[block].tolist() == sorted(l.scale[block].tolist())
        assert (l.region[block] == r).all()

@given(layouts())
def test_linked_is_symmetric_and_is_containment(l):
    boxes = l.boxes.tolist()
    def inside(a, b): return b[0] <= a[0] and b[1] <= a[1] and a[2] <= b[2] and a[3] <= b[3]
    for a in range(0, l.n_tokens, max(1, l.n_tokens//12)):
        want = [b for b in range(l.n_tokens) if l.scale[a] != l.scale[b]
                and (inside(boxes[a], boxes[b]) or inside(boxes[b], boxes[a]))]
        assert l.linked(a).tolist() == want
        for b in want[:20]: assert a in l.linked(b).tolist()

@given(layouts())
def test_regions_by_reshaping_follow_order(l):
    start, parts = 0, []
    for g in l.grids:
        parts.append(l.to_regions(torch.arange(start, start + g*g).view(1, 1, g, g)))
        start += g*g
    x = torch.cat(parts, 2)
    assert x.shape == (1, l.n_regions, l.tokens_per_region, 1) and torch.equal(x.flatten(), l.order)

@pytest.mark.parametrize('args, said', [
    ((30, (2, 4, 8, 16)), 'image_size 30 is not divisible by the largest patch 16: use a side of '
                          '16 or 32, or smaller patches'),
    ((8, (2, 4, 8, 16)), 'use a side of 16, or smaller patches'),
    ((32, (4, 2)), '2 is not a larger multiple of 4'),
    ((32, (2, 2)), '2 is not a larger multiple of 2'), ((32, (2, 3)), '3 is not'),
    ((32, ()), 'patch_sizes is empty'), ((0, (2,)), 'image_size is 0'),
    ((32, (0,)), 'a patch size is 0'), ((32., (2,)), 'image_size is 32.0'),
    ((True, (1,)), 'image_size is True')])
def test_impossible_layouts_are_refused(args, said):
    with pytest.raises(ValueError) as e: TokenLayout(*args)
    assert said in str(e.value)

@pytest.mark.parametrize('position', [-1, 1.5, 340, 10**9])
def test_linked_out_of_range(position):
    with pytest.raises(IndexError, match=f'position {position} is out of range: this layout has '
                                         'positions 0 to 339'):
        TokenLayout().linked(position)

@pytest.mark.parametrize('fine, coarse, said',
                         [(8, 3, 'not a multiple'), (0, 1, 'fine_grid is 0'),
                          (8, -2, 'coarse_grid is -2'), (2, 4, 'not a multiple')])
def test_maps_that_do_not_nest(fine, coarse, said):
    with pytest.raises(ValueError, match=said): correspondence_map(fine, coarse)
