/* SPDX-License-Identifier: Apache-2.0 */
/* Functions that model.py defines when it uses them: what torch has no function for. */
#include "write/python_internal.h"

static const struct {
    enum torch_op op;
    const char *text;
} helpers[] = {
    {TORCH_AVG_POOL_SAME,
     "\n\n"
     "def avg_pool_same(x: torch.Tensor, kernel_size, stride) -> torch.Tensor:\n"
     "    \"\"\"Average pooling with Keras' padding=\"same\": cells outside the input are not counted.\"\"\"\n"
     "    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[x.dim() - 3]\n"
     "    total = pool(pad_same(x, kernel_size, stride), kernel_size, stride)\n"
     "    inside = pool(pad_same(torch.ones_like(x[:1, :1]), kernel_size, stride), kernel_size, stride)\n"
     "    return total / inside\n"},
    {TORCH_BAND_MASK,
     "\n\n"
     "def band_mask(query: torch.Tensor, key: torch.Tensor, before=None, after=None) -> torch.Tensor:\n"
     "    \"\"\"Which steps of key a step of query may look at: from `before` steps back to `after` steps "
     "ahead.\"\"\"\n"
     "    mask = torch.ones(query.shape[1], key.shape[1], dtype=torch.bool, device=query.device)\n"
     "    if after is not None:\n"
     "        mask = mask.tril(after)\n"
     "    return mask if before is None else mask.triu(-before)\n"},
    {TORCH_CHOLESKY, "\n\n"
                     "def cholesky(x: torch.Tensor) -> torch.Tensor:\n"
                     "    \"\"\"The lower triangles; NaN where a matrix is not positive definite.\"\"\"\n"
                     "    lower, info = torch.linalg.cholesky_ex(x)\n"
                     "    return lower.masked_fill((info > 0)[..., None, None], float(\"nan\"))\n"},
    {TORCH_RGB_TO_HSV,
     "\n\n"
     "def rgb_to_hsv(x: torch.Tensor, dim: int) -> torch.Tensor:\n"
     "    \"\"\"Hue, saturation and value, each in 0..1, of red, green and blue along `dim`.\"\"\"\n"
     "    r, g, b = x.unbind(dim)\n"
     "    value = x.amax(dim)\n"
     "    spread = value - x.amin(dim)\n"
     "    grey = spread <= 0\n"
     "    safe = torch.where(grey, torch.ones_like(spread), spread)\n"
     "    blue = (r - g) / safe + 4\n"
     "    hue = torch.where(r == value, (g - b) / safe, torch.where(g == value, (b - r) / safe + 2, blue)) / 6\n"
     "    hue = torch.where(grey, torch.zeros_like(hue), torch.where(hue < 0, hue + 1, hue))\n"
     "    saturation = torch.where(value > 0, spread / value, torch.zeros_like(value))\n"
     "    return torch.stack((hue, saturation, value), dim)\n"},
    {TORCH_HSV_TO_RGB,
     "\n\n"
     "def hsv_to_rgb(x: torch.Tensor, dim: int) -> torch.Tensor:\n"
     "    \"\"\"Red, green and blue of hue, saturation and value, each in 0..1, along `dim`.\"\"\"\n"
     "    hue, saturation, value = x.unbind(dim)\n"
     "    h = 6 * hue\n"
     "    colours = ((h - 3).abs() - 1, 2 - (h - 2).abs(), 2 - (h - 4).abs())\n"
     "    return torch.stack([(1 - saturation + saturation * c.clamp(0, 1)) * value for c in colours], dim)\n"},
    {TORCH_PROJECTIVE_TRANSFORM,
     "\n\n"
     "def projective_transform(x, transform, interpolation=\"bilinear\", fill_mode=\"constant\", fill_value=0.0):\n"
     "    \"\"\"x (batch, channels, height, width) read at transformed places; transform is (batch or 1, 8).\"\"\"\n"
     "    batch, channels, height, width = x.shape\n"
     "    t = transform[:, :, None, None]\n"
     "    row = torch.arange(height, dtype=x.dtype, device=x.device)[:, None]\n"
     "    column = torch.arange(width, dtype=x.dtype, device=x.device)\n"
     "    scale = t[:, 6] * column + t[:, 7] * row + 1\n"
     "    seen = (scale != 0).expand(batch, -1, -1)\n"
     "\n"
     "    def places(i: int, size: int) -> torch.Tensor:\n"
     "        p = torch.where(scale != 0, (t[:, i] * column + t[:, i + 1] * row + t[:, i + 2]) / scale, 0.0)\n"
     "        if fill_mode == \"wrap\":\n"
     "            low, high = p + size * ((-p / max(size - 1, 1)).trunc() + 1), p - size * (p / max(size - 1, "
     "1)).trunc()\n"
     "            p = torch.where(p < 0, low, torch.where(p > size - 1, high, p))\n"
     "        elif fill_mode == \"reflect\":\n"
     "            low, high = p + 2 * size * (-p / (2 * size)).trunc(), p - 2 * size * (p / (2 * size)).trunc()\n"
     "            low = torch.where(low < -size, low + 2 * size, -low - 1)\n"
     "            high = torch.where(high >= size, 2 * size - high - 1, high)\n"
     "            p = torch.where(p < 0, low, torch.where(p > size - 1, high, p))\n"
     "        return (p if fill_mode == \"constant\" else p.clamp(0, size - 1)).expand(batch, -1, -1)\n"
     "\n"
     "    def cells(y: torch.Tensor, x_: torch.Tensor) -> torch.Tensor:\n"
     "        inside = (y >= 0) & (y < height) & (x_ >= 0) & (x_ < width)\n"
     "        index = (torch.where(inside, y, 0.0).long() * width + torch.where(inside, x_, 0.0).long()).flatten(1)\n"
     "        found = x.flatten(2).gather(2, index[:, None].expand(-1, channels, -1)).reshape(x.shape)\n"
     "        return torch.where(inside[:, None], found, fill_value)\n"
     "\n"
     "    y, x_ = places(3, height), places(0, width)\n"
     "    if interpolation == \"nearest\":\n"
     "        away = [p.sign() * (p.abs() + 0.5).floor() for p in (y, x_)]\n"
     "        result = cells(*away)\n"
     "    else:\n"
     "        top, left = y.floor(), x_.floor()\n"
     "        down, right = (y - top)[:, None], (x_ - left)[:, None]\n"
     "        above = (1 - right) * cells(top, left) + right * cells(top, left + 1)\n"
     "        below = (1 - right) * cells(top + 1, left) + right * cells(top + 1, left + 1)\n"
     "        result = (1 - down) * above + down * below\n"
     "    return torch.where(seen[:, None], result, fill_value)\n"},
    {TORCH_SCATTER_ND,
     "\n\n"
     "def scatter_nd(x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, reduce=None) -> torch.Tensor:\n"
     "    \"\"\"x with the updates at the places that the indices name along its first dims; places outside do not "
     "count.\"\"\"\n"
     "    sizes = x.shape[: indices.shape[-1]]\n"
     "    places = torch.zeros_like(indices[..., 0])\n"
     "    inside = places == 0\n"
     "    for index, size in zip(indices.unbind(-1), sizes):\n"
     "        places = places * size + index\n"
     "        inside = inside & (index >= 0) & (index < size)\n"
     "    count = sizes.numel()\n"
     "    places = torch.where(inside, places, count).flatten()\n"
     "    rows = torch.cat((x.reshape(count, -1), x.reshape(count, -1)[:1]))\n"
     "    updates = updates.reshape(places.shape[0], rows.shape[1])\n"
     "    if reduce is None:\n"
     "        rows = rows.index_copy(0, places, updates)\n"
     "    else:\n"
     "        rows = rows.scatter_reduce(0, places.unsqueeze(1).expand_as(updates), updates, reduce)\n"
     "    return rows[:count].reshape(x.shape)\n"},
    {TORCH_SLICE_UPDATE, "\n\n"
                         "def slice_update(x: torch.Tensor, updates: torch.Tensor, start) -> torch.Tensor:\n"
                         "    \"\"\"x with the updates in the box that begins at `start`.\"\"\"\n"
                         "    y = x.clone()\n"
                         "    y[tuple(slice(a, a + n) for a, n in zip(start, updates.shape))] = updates\n"
                         "    return y\n"},
    {TORCH_SPARSEMAX, "\n\n"
                      "def sparsemax(x: torch.Tensor, dim: int) -> torch.Tensor:\n"
                      "    \"\"\"Keras' sparsemax: its threshold adds up the partial sums, where the literature has "
                      "the last one.\"\"\"\n"
                      "    z = x.sort(dim=dim, descending=True).values.movedim(dim, -1)\n"
                      "    total = z.cumsum(-1)\n"
                      "    rank = torch.arange(1, z.shape[-1] + 1, device=x.device, dtype=x.dtype)\n"
                      "    support = z - (total - 1) / rank > 0\n"
                      "    tau = ((total * support).sum(-1, keepdim=True) - 1) / support.sum(-1, keepdim=True)\n"
                      "    return (x.movedim(dim, -1) - tau).clamp(min=0).movedim(-1, dim)\n"},
    {TORCH_ONE_HOT, "\n"
                    "\n"
                    "def one_hot(x: torch.Tensor, num_classes: int) -> torch.Tensor:\n"
                    "    \"\"\"Ids outside 0 ... num_classes - 1 give zeros, as in Keras.\"\"\"\n"
                    "    return (x.unsqueeze(-1) == torch.arange(num_classes, device=x.device)).to(torch.float32)\n"},
    {TORCH_BIN_BOUNDARIES,
     "\n"
     "\n"
     "def bin_boundaries(summary: torch.Tensor, num_bins: int) -> torch.Tensor:\n"
     "    \"\"\"The boundaries between num_bins equal parts of what an adapted layer has seen: values, and their "
     "weights.\"\"\"\n"
     "    values, weights = summary.double()\n"
     "    part = 1.0 / num_bins\n"
     "    if values.numel() * part < 1:\n"
     "        return summary[0, :-1]\n"
     "    total = summary[1].cumsum(0)\n"
     "    share = (total / total[-1]).double()\n"
     "    at = part + part * torch.arange(-int(-1.0 / part // 1) - 1, device=summary.device, dtype=torch.float64)\n"
     "    right = torch.searchsorted(share, at, right=True).clamp(1, values.numel() - 1)\n"
     "    left = right - 1\n"
     "    between = ((at - share[left]) / (share[right] - share[left])).clamp(0, 1)\n"
     "    return (values[left] + (values[right] - values[left]) * between).float()\n"},
    {TORCH_LOOKUP,
     "\n"
     "\n"
     "def lookup(x: torch.Tensor, tokens: torch.Tensor, indices: torch.Tensor, num_oov: int = 1, first_oov: int = 0) "
     "-> torch.Tensor:\n"
     "    \"\"\"The index of each number among tokens, which ascend; of the others first_oov + x % num_oov.\"\"\"\n"
     "    place = torch.searchsorted(tokens, x.contiguous()).clamp(max=tokens.numel() - 1)\n"
     "    return torch.where(tokens[place] == x, indices[place], first_oov + x.remainder(num_oov))\n"},
    {TORCH_AUTO_CONTRAST,
     "\n"
     "\n"
     "def auto_contrast(x: torch.Tensor, dim, low: float, high: float) -> torch.Tensor:\n"
     "    \"\"\"Stretches the values along dim to low ... high; what is all the same there stays.\"\"\"\n"
     "    y = (x - low) / (high - low) * 255\n"
     "    least = y.amin(dim, keepdim=True)\n"
     "    scale = 255 / (y.amax(dim, keepdim=True) - least)\n"
     "    y = (y * scale - least * scale).clamp(0, 255) / 255 * (high - low) + low\n"
     "    return torch.where(y.isnan(), x, y)\n"},
    {TORCH_CLAHE,
     "\n"
     "\n"
     "def clahe(x: torch.Tensor, grid, clip_limit: float, low: float = 0.0, high: float = 255.0) -> torch.Tensor:\n"
     "    \"\"\"Equalises each of grid x grid tiles by its histogram and blends the tiles, as Keras does it.\"\"\"\n"
     "    size = x.shape[2:]\n"
     "    tile = [-(-n // g) for n, g in zip(size, grid)]\n"
     "    rows, columns = (torch.arange(t * g, device=x.device) for t, g in zip(tile, grid))\n"
     "    mirror = [torch.where(at < n, at, 2 * n - 1 - at) for at, n in zip((rows, columns), size)]\n"
     "    pixels = ((x - low) / (high - low) * 255)[:, :, mirror[0]][..., mirror[1]].clamp(0, 255).long()\n"
     "    tiles = pixels.unflatten(3, (grid[1], tile[1])).unflatten(2, (grid[0], tile[0])).transpose(3, 4).flatten(4)\n"
     "    counts = x.new_zeros(*tiles.shape[:4], 256).scatter_add(4, tiles, torch.ones_like(tiles, dtype=x.dtype))\n"
     "    if clip_limit > 0:\n"
     "        kept = counts.clamp(max=clip_limit * (tile[0] * tile[1]) / 256)\n"
     "        counts = kept + (counts - kept).sum(4, keepdim=True) / 256\n"
     "    sums = counts.cumsum(4)\n"
     "    rest = tile[0] * tile[1] - sums[..., :1]\n"
     "    tables = ((sums - sums[..., :1]) * 255 / torch.where(rest == 0, 1.0, rest)).clamp(0, 255).flatten(2)\n"
     "    places = [(at[:n] - t / 2) / t for at, n, t in zip((rows, columns), size, tile)]\n"
     "    down, right = places[0].sub(places[0].floor())[:, None], places[1].sub(places[1].floor())\n"
     "    pixels = pixels[:, :, : size[0], : size[1]]\n"
     "\n"
     "    def look_up(below: int, beside: int) -> torch.Tensor:\n"
     "        row = (places[0].floor().long() + below).clamp(0, grid[0] - 1)[:, None]\n"
     "        column = (places[1].floor().long() + beside).clamp(0, grid[1] - 1)\n"
     "        return tables.gather(2, ((row * grid[1] + column) * 256 + pixels).flatten(2)).view_as(pixels)\n"
     "\n"
     "    top = look_up(0, 0) * (1 - right) + look_up(0, 1) * right\n"
     "    bottom = look_up(1, 0) * (1 - right) + look_up(1, 1) * right\n"
     "    return ((top * (1 - down) + bottom * down) / 255 * (high - low) + low).to(x)\n"},
    {TORCH_STFT_MAGNITUDE,
     "\n"
     "\n"
     "def stft_magnitude(x: torch.Tensor, window: torch.Tensor, n_fft: int, hop_length: int) -> torch.Tensor:\n"
     "    \"\"\"|STFT| with reflected ends, (batch, frequency, time).\"\"\"\n"
     "    return torch.stft(x, n_fft, hop_length, window=window, center=True, pad_mode=\"reflect\", "
     "return_complex=True).abs()\n"},
};

static const char pad_same_text
    [] = "\n\n"
         "def pad_same(x: torch.Tensor, kernel_size, stride, dilation=1, value: float = 0.0) -> torch.Tensor:\n"
         "    \"\"\"Pads so that ceil(size / stride) windows fit, more at the end: Keras' padding=\"same\".\"\"\"\n"
         "    sizes = x.shape[2:]\n"
         "    settings = [(v,) * len(sizes) if isinstance(v, int) else v for v in (kernel_size, stride, dilation)]\n"
         "    pad: list[int] = []\n"
         "    for size, k, s, d in reversed(list(zip(sizes, *settings))):\n"
         "        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)\n"
         "        pad += [total // 2, total - total // 2]\n"
         "    return F.pad(x, pad, value=value)\n";

static const char resize_text[] =
    "\n"
    "\n"
    "def resize_weights(old: int, new: int, method: str, antialias: bool) -> torch.Tensor:\n"
    "    \"\"\"How much of each of the old cells of an axis (columns) is in each of the new ones (rows).\"\"\"\n"
    "    cells = torch.arange(old, dtype=torch.float32)\n"
    "    places = torch.arange(new, dtype=torch.float32)[:, None]\n"
    "    step = torch.tensor(float(old)) / torch.tensor(float(new))\n"
    "    if method == \"area\":\n"
    "        low, high = places * step, (places + 1) * step\n"
    "        return (torch.minimum(cells + 1, high) - torch.maximum(cells, low)).clamp(min=0) / step\n"
    "    if method == \"bicubic\" and not antialias:  # TensorFlow looks its weights up, 1024 to a cell\n"
    "        at = (places + 0.5) * step - 0.5\n"
    "        at = at.floor() + ((at - at.floor()) * 1024).round() / 1024 + 0.5\n"
    "    else:\n"
    "        at = (places + 0.5) * (1.0 / (torch.tensor(float(new)) / torch.tensor(float(old))))\n"
    "    x = (cells + 0.5 - at).abs()\n"
    "    if antialias:\n"
    "        x = x / step.clamp(min=1)\n"
    "    if method == \"bilinear\":\n"
    "        radius, y = 1.0, 1 - x\n"
    "    elif method == \"bicubic\":\n"
    "        radius, y = 2.0, torch.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2)\n"
    "    elif method == \"mitchellcubic\":\n"
    "        near = (7 / 6 * x - 2) * x * x + 8 / 9\n"
    "        radius, y = 2.0, torch.where(x < 1, near, ((2 - 7 / 18 * x) * x - 10 / 3) * x + 16 / 9)\n"
    "    elif method == \"gaussian\":\n"
    "        radius, y = 1.5, (-2 * x * x).exp()\n"
    "    else:\n"
    "        radius = 3.0 if method == \"lanczos3\" else 5.0\n"
    "        y = torch.sinc(x) * torch.sinc(x / radius)\n"
    "    y = torch.where(x < radius, y, 0.0)\n"
    "    return y / y.sum(1, keepdim=True)\n"
    "\n"
    "\n"
    "def resize(x: torch.Tensor, size, method: str, antialias: bool = False) -> torch.Tensor:\n"
    "    \"\"\"tf.image.resize; F.interpolate has other cubic kernels and treats the borders in another way.\"\"\"\n"
    "    rows = resize_weights(x.shape[2], size[0], method, antialias).to(x)\n"
    "    columns = resize_weights(x.shape[3], size[1], method, antialias).to(x)\n"
    "    return rows @ x @ columns.T\n";

bool python_uses(const struct torch_graph *g, enum torch_op op)
{
    for (int i = 0; i < g->node_count; i++)
        if (g->nodes[i].op == op)
            return true;
    return false;
}

void python_add_helpers(const struct torch_graph *graph, struct strbuf *out)
{
    if (python_uses(graph, TORCH_PAD_SAME) || python_uses(graph, TORCH_AVG_POOL_SAME))
        strbuf_add(out, pad_same_text);
    if (python_uses(graph, TORCH_RESIZE) || python_uses(graph, TORCH_RESIZE_LIKE))
        strbuf_add(out, resize_text);
    for (size_t i = 0; i < sizeof helpers / sizeof *helpers; i++)
        if (python_uses(graph, helpers[i].op))
            strbuf_add(out, helpers[i].text);
    python_add_loops(graph, out);
}
