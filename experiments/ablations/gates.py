"""What do gates, clipping and the length of the gradients' way do for a recurrent network that has to remember?

    python -m experiments.ablations.gates sweep --seeds 3       # every variant, three seeds each: a table

Two marked numbers of 100 are to be added (Hochreiter & Schmidhuber, 1997; see `experiments.memory`): to answer 1 each
time has a squared error of 0.167. Cells: LSTM, GRU (Cho et al., 2014), Elman with an orthogonal matrix, and IRNN,
rectifiers with the identity (Le et al., 2015). Gradients are clipped to a norm of 1 (Pascanu et al., 2013), or are not;
they go back to the first step, or stop behind every tenth (Williams & Peng, 1990).

Hypothesis, before the runs: after 1,000 steps the GRU has learned the task, the LSTM partly, and the Elman network not
at all, as its gradients vanish; the IRNN has begun to. Without clipping the GRU is no worse, as nothing explodes behind
gates, and the IRNN fails. With gradients that stop behind every tenth step the GRU does not learn, as most pairs of
marked numbers lie further from the answer.

Measured by the command above on 2 cores of an AMD EPYC that other programs shared, squared error on 1,000 test
sequences, mean over three seeds [95% bootstrap interval], and the seconds of one run:

    gru               0.0014 [0.0011, 0.0017]   35
    gru_unclipped     0.0020 [0.0016, 0.0026]   28
    lstm              0.0050 [0.0036, 0.0061]   33
    gru_window        0.0125 [0.0093, 0.0146]   34
    elman             0.154 [0.154, 0.155]       7
    irnn              0.155 [0.155, 0.156]       9
    irnn_unclipped    0.677 [0.591, 0.802]       9

As expected, the GRU learns the task, the Elman network does not, clipping makes no certain difference to the GRU (p =
0.08), and the IRNN fails without it: it is worse than to answer 1. Against the hypothesis, the LSTM learns it too; the
IRNN does not begin to, though the gradient by its first state is the largest of all at the start, 0.7 of that by its
last one, where the GRU's is below 1e-10: that gradients arrive is not enough. And a GRU whose gradients go back ten
steps at most comes to 7 % of the baseline: within ten steps it can learn to add a number to what it holds and to hold
it, and to hold is the same at any distance.
"""

from collections.abc import Mapping
from dataclasses import replace

import gen_models as gm

from .. import memory

base = replace(memory.base, length=100, steps=1000, examples=20_000, evaluate_every=250)
_irnn = replace(base, network=memory.Recurrent(cell="irnn"))
variants: Mapping[str, memory.Config] = {
    "gru": base,
    "lstm": replace(base, network=memory.Recurrent(cell="lstm")),
    "elman": replace(base, network=memory.Recurrent(cell="elman")),
    "irnn": _irnn,
    "gru_unclipped": replace(base, clip_norm=0.0),
    "irnn_unclipped": replace(_irnn, clip_norm=0.0),
    "gru_window": replace(base, network=memory.Recurrent(window=10)),
}

EXPERIMENT = replace(memory.EXPERIMENT, file=__file__, doc=__doc__, variants=variants, swept=None, table=True)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
