/* SPDX-License-Identifier: Apache-2.0 */
/* The recurrent modules that model.py defines when it uses them, and the activations that torch has no function for. */
#include <string.h>

#include "write/python_internal.h"

static const struct {
    const char *name, *text;
} functions[] = {
    {"linear", "\n"
               "\n"
               "def linear(x: torch.Tensor) -> torch.Tensor:\n"
               "    return x\n"},
    {"leaky_relu", "\n"
                   "\n"
                   "def leaky_relu(x: torch.Tensor) -> torch.Tensor:\n"
                   "    return F.leaky_relu(x, 0.2)\n"},
    {"hard_sigmoid", "\n"
                     "\n"
                     "def hard_sigmoid(x: torch.Tensor) -> torch.Tensor:\n"
                     "    \"\"\"The hard sigmoid of Keras 1 and 2, which is steeper than F.hardsigmoid.\"\"\"\n"
                     "    return (0.2 * x + 0.5).clamp(0.0, 1.0)\n"},
    {"softmax", "\n"
                "\n"
                "def softmax(x: torch.Tensor) -> torch.Tensor:\n"
                "    return F.softmax(x, dim=-1)\n"},
};

static const char
    loop_text[] = "\n"
                  "\n"
                  "class RecurrentLoop(nn.Module):\n"
                  "    \"\"\"Runs self.step(x, *states) over time, for what nn.LSTM and its like cannot do.\n"
                  "\n"
                  "    Takes (batch, time, ...). Where the mask (batch, time) is False the state stays, and\n"
                  "    the output is the one before, or zero. With reverse the last step comes first; each\n"
                  "    output stands where its input does.\n"
                  "    \"\"\"\n"
                  "\n"
                  "    def __init__(\n"
                  "        self, activation, recurrent_activation, reverse: bool, zero_output: bool\n"
                  "    ) -> None:\n"
                  "        super().__init__()\n"
                  "        self.activation = activation\n"
                  "        self.recurrent_activation = recurrent_activation\n"
                  "        self.reverse = reverse\n"
                  "        self.zero_output = zero_output\n"
                  "\n"
                  "    def run(self, x: torch.Tensor, mask, states):\n"
                  "        outputs = [states[0]] * x.shape[1]\n"
                  "        output = zero = torch.zeros_like(states[0])\n"
                  "        steps = range(x.shape[1])\n"
                  "        for t in reversed(steps) if self.reverse else steps:\n"
                  "            new = self.step(x[:, t], *states)\n"
                  "            if mask is None:\n"
                  "                output, states = new[0], new\n"
                  "            else:\n"
                  "                valid = mask[:, t].reshape(-1, *[1] * (output.dim() - 1))\n"
                  "                kept = zero if self.zero_output else output\n"
                  "                output = torch.where(valid, new[0], kept)\n"
                  "                states = [\n"
                  "                    torch.where(valid, new[i], states[i]) for i in range(len(new))\n"
                  "                ]\n"
                  "            outputs[t] = output\n"
                  "        return torch.stack(outputs, 1), states\n";

static const char lstm_text[] = "\n"
                                "\n"
                                "class LSTMLoop(RecurrentLoop):\n"
                                "    \"\"\"nn.LSTM with any activations and with masks. Gates: i, f, g, o.\"\"\"\n"
                                "\n"
                                "    def __init__(\n"
                                "        self,\n"
                                "        input_size: int,\n"
                                "        hidden_size: int,\n"
                                "        bias: bool = True,\n"
                                "        activation=torch.tanh,\n"
                                "        recurrent_activation=torch.sigmoid,\n"
                                "        reverse: bool = False,\n"
                                "        zero_output: bool = False,\n"
                                "    ) -> None:\n"
                                "        super().__init__(activation, recurrent_activation, reverse, zero_output)\n"
                                "        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))\n"
                                "        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))\n"
                                "        self.bias = nn.Parameter(torch.empty(4 * hidden_size)) if bias else None\n"
                                "\n"
                                "    def step(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor):\n"
                                "        i, f, g, o = (x + F.linear(h, self.weight_hh)).chunk(4, -1)\n"
                                "        new = self.recurrent_activation(i) * self.activation(g)\n"
                                "        c = self.recurrent_activation(f) * c + new\n"
                                "        return self.recurrent_activation(o) * self.activation(c), c\n"
                                "\n"
                                "    def forward(self, x: torch.Tensor, mask=None, state=None):\n"
                                "        if state is None:\n"
                                "            h = x.new_zeros(x.shape[0], self.weight_hh.shape[1])\n"
                                "            state = h, h\n"
                                "        y, (h, c) = self.run(F.linear(x, self.weight_ih, self.bias), mask, state)\n"
                                "        return y, (h, c)\n";

static const char
    gru_text[] = "\n"
                 "\n"
                 "class GRULoop(RecurrentLoop):\n"
                 "    \"\"\"nn.GRU with any activations and with masks. Gates: r, z, n.\n"
                 "\n"
                 "    With reset_after=False the state is reset before its matrix product.\n"
                 "    \"\"\"\n"
                 "\n"
                 "    def __init__(\n"
                 "        self,\n"
                 "        input_size: int,\n"
                 "        hidden_size: int,\n"
                 "        bias: bool = True,\n"
                 "        reset_after: bool = True,\n"
                 "        activation=torch.tanh,\n"
                 "        recurrent_activation=torch.sigmoid,\n"
                 "        reverse: bool = False,\n"
                 "        zero_output: bool = False,\n"
                 "    ) -> None:\n"
                 "        super().__init__(activation, recurrent_activation, reverse, zero_output)\n"
                 "        self.reset_after = reset_after\n"
                 "        self.weight_ih = nn.Parameter(torch.empty(3 * hidden_size, input_size))\n"
                 "        self.weight_hh = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))\n"
                 "        for name in (\"bias_ih\", \"bias_hh\") if reset_after else (\"bias\",):\n"
                 "            self.register_parameter(\n"
                 "                name, nn.Parameter(torch.empty(3 * hidden_size)) if bias else None\n"
                 "            )\n"
                 "\n"
                 "    def step(self, x: torch.Tensor, h: torch.Tensor):\n"
                 "        x_r, x_z, x_n = x.chunk(3, -1)\n"
                 "        if self.reset_after:\n"
                 "            h_r, h_z, h_n = F.linear(h, self.weight_hh, self.bias_hh).chunk(3, -1)\n"
                 "            h_n = self.recurrent_activation(x_r + h_r) * h_n\n"
                 "        else:\n"
                 "            w_r, w_z, w_n = self.weight_hh.chunk(3)\n"
                 "            h_z = F.linear(h, w_z)\n"
                 "            h_n = F.linear(self.recurrent_activation(x_r + F.linear(h, w_r)) * h, w_n)\n"
                 "        z = self.recurrent_activation(x_z + h_z)\n"
                 "        return ((1 - z) * self.activation(x_n + h_n) + z * h,)\n"
                 "\n"
                 "    def forward(self, x: torch.Tensor, mask=None, state=None):\n"
                 "        if state is None:\n"
                 "            state = x.new_zeros(x.shape[0], self.weight_hh.shape[1])\n"
                 "        bias = self.bias_ih if self.reset_after else self.bias\n"
                 "        y, (h,) = self.run(F.linear(x, self.weight_ih, bias), mask, (state,))\n"
                 "        return y, h\n";

static const char rnn_text[] = "\n"
                               "\n"
                               "class RNNLoop(RecurrentLoop):\n"
                               "    \"\"\"nn.RNN with any activation and with masks.\"\"\"\n"
                               "\n"
                               "    def __init__(\n"
                               "        self,\n"
                               "        input_size: int,\n"
                               "        hidden_size: int,\n"
                               "        bias: bool = True,\n"
                               "        activation=torch.tanh,\n"
                               "        reverse: bool = False,\n"
                               "        zero_output: bool = False,\n"
                               "    ) -> None:\n"
                               "        super().__init__(activation, None, reverse, zero_output)\n"
                               "        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))\n"
                               "        self.weight_hh = nn.Parameter(torch.empty(hidden_size, hidden_size))\n"
                               "        self.bias = nn.Parameter(torch.empty(hidden_size)) if bias else None\n"
                               "\n"
                               "    def step(self, x: torch.Tensor, h: torch.Tensor):\n"
                               "        return (self.activation(x + F.linear(h, self.weight_hh)),)\n"
                               "\n"
                               "    def forward(self, x: torch.Tensor, mask=None, state=None):\n"
                               "        if state is None:\n"
                               "            state = x.new_zeros(x.shape[0], self.weight_hh.shape[1])\n"
                               "        y, (h,) = self.run(F.linear(x, self.weight_ih, self.bias), mask, (state,))\n"
                               "        return y, h\n";

static const char
    conv_lstm_text[] = "\n"
                       "\n"
                       "class ConvLSTMLoop(RecurrentLoop):\n"
                       "    \"\"\"The recurrence of a convolutional LSTM.\n"
                       "\n"
                       "    Takes the gates i, f, g, o that a convolution made of the input, (batch, time,\n"
                       "    4 * hidden_size, ...), and adds a convolution of the state that keeps its size.\n"
                       "    \"\"\"\n"
                       "\n"
                       "    def __init__(\n"
                       "        self,\n"
                       "        hidden_size: int,\n"
                       "        kernel_size: tuple,\n"
                       "        activation=torch.tanh,\n"
                       "        recurrent_activation=torch.sigmoid,\n"
                       "        pad_front: bool = False,\n"
                       "        reverse: bool = False,\n"
                       "        zero_output: bool = False,\n"
                       "    ) -> None:\n"
                       "        super().__init__(activation, recurrent_activation, reverse, zero_output)\n"
                       "        self.weight_hh = nn.Parameter(\n"
                       "            torch.empty(4 * hidden_size, hidden_size, *kernel_size)\n"
                       "        )\n"
                       "        sides = [\n"
                       "            (k // 2, (k - 1) // 2) if pad_front else ((k - 1) // 2, k // 2)\n"
                       "            for k in reversed(kernel_size)\n"
                       "        ]\n"
                       "        self.padding = [p for side in sides for p in side]\n"
                       "        self.convolution = (F.conv1d, F.conv2d, F.conv3d)[len(kernel_size) - 1]\n"
                       "\n"
                       "    def step(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor):\n"
                       "        gates = x + self.convolution(F.pad(h, self.padding), self.weight_hh)\n"
                       "        i, f, g, o = gates.chunk(4, 1)\n"
                       "        new = self.recurrent_activation(i) * self.activation(g)\n"
                       "        c = self.recurrent_activation(f) * c + new\n"
                       "        return self.recurrent_activation(o) * self.activation(c), c\n"
                       "\n"
                       "    def forward(self, x: torch.Tensor, mask=None, state=None):\n"
                       "        if state is None:\n"
                       "            h = torch.zeros_like(x[:, 0].chunk(4, 1)[0])\n"
                       "            state = h, h\n"
                       "        y, (h, c) = self.run(x, mask, state)\n"
                       "        return y, (h, c)\n";

static const struct {
    enum torch_op op;
    const char *text;
} loops[] = {
    {TORCH_LSTM_LOOP, lstm_text},
    {TORCH_GRU_LOOP, gru_text},
    {TORCH_RNN_LOOP, rnn_text},
    {TORCH_CONV_LSTM_LOOP, conv_lstm_text},
};

bool python_is_loop(enum torch_op op)
{
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++)
        if (loops[i].op == op)
            return true;
    return false;
}

static bool uses_function(const struct torch_graph *g, const char *name)
{
    for (int i = 0; i < g->node_count; i++) {
        if (!python_is_loop(g->nodes[i].op))
            continue;
        const char *a = torch_attr_text(&g->nodes[i], "activation");
        const char *b = torch_attr_text(&g->nodes[i], "recurrent_activation");
        if ((a && strcmp(a, name) == 0) || (b && strcmp(b, name) == 0))
            return true;
    }
    return false;
}

void python_add_loops(const struct torch_graph *graph, struct strbuf *out)
{
    bool any = false;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (uses_function(graph, functions[i].name))
            strbuf_add(out, functions[i].text);
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        if (!python_uses(graph, loops[i].op))
            continue;
        strbuf_add(out, any ? "" : loop_text);
        strbuf_add(out, loops[i].text);
        any = true;
    }
}

/* self.lstm(x, mask, state=(h, c)) */
void python_add_loop_arguments(struct strbuf *out, const struct torch_node *node, const char *const *operands)
{
    int first = torch_attr_int(node, "masked") ? 2 : 1, states = node->input_count - first;
    strbuf_add(out, operands[0]);
    if (first == 2)
        strbuf_addf(out, ", %s", operands[1]);
    if (states == 1)
        strbuf_addf(out, ", state=%s", operands[first]);
    if (states == 2)
        strbuf_addf(out, ", state=(%s, %s)", operands[first], operands[first + 1]);
}
