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
    {TORCH_SPARSEMAX,
     "\n\n"
     "def sparsemax(x: torch.Tensor, dim: int) -> torch.Tensor:\n"
     "    \"\"\"Keras' sparsemax: its threshold adds up the partial sums, where the literature has the last one.\"\"\"\n"
     "    z = x.sort(dim=dim, descending=True).values.movedim(dim, -1)\n"
     "    total = z.cumsum(-1)\n"
     "    rank = torch.arange(1, z.shape[-1] + 1, device=x.device, dtype=x.dtype)\n"
     "    support = z - (total - 1) / rank > 0\n"
     "    tau = ((total * support).sum(-1, keepdim=True) - 1) / support.sum(-1, keepdim=True)\n"
     "    return (x.movedim(dim, -1) - tau).clamp(min=0).movedim(-1, dim)\n"},
};

static const char pad_same_text[] =
    "\n\n"
    "def pad_same(x: torch.Tensor, kernel_size, stride, dilation=1, value: float = 0.0) -> torch.Tensor:\n"
    "    \"\"\"Pads so that ceil(size / stride) windows fit, more at the end: Keras' padding=\"same\".\"\"\"\n"
    "    sizes = x.shape[2:]\n"
    "    settings = [(v,) * len(sizes) if isinstance(v, int) else v for v in (kernel_size, stride, dilation)]\n"
    "    pad: list[int] = []\n"
    "    for size, k, s, d in reversed(list(zip(sizes, *settings))):\n"
    "        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)\n"
    "        pad += [total // 2, total - total // 2]\n"
    "    return F.pad(x, pad, value=value)\n";

static bool used(const struct torch_graph *g, enum torch_op op)
{
    for (int i = 0; i < g->node_count; i++)
        if (g->nodes[i].op == op)
            return true;
    return false;
}

void python_add_helpers(const struct torch_graph *graph, struct strbuf *out)
{
    if (used(graph, TORCH_PAD_SAME) || used(graph, TORCH_AVG_POOL_SAME))
        strbuf_add(out, pad_same_text);
    for (size_t i = 0; i < sizeof helpers / sizeof *helpers; i++)
        if (used(graph, helpers[i].op))
            strbuf_add(out, helpers[i].text);
}
