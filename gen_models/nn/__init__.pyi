"""Layers, each file by itself: `gm.nn.conv`, `gm.nn.recurrent`, ..., imported when used."""

from . import adversarial_losses as adversarial_losses
from . import autoencoding as autoencoding
from . import batch_norm as batch_norm
from . import causal as causal
from . import causal_attention as causal_attention
from . import causal_resampling as causal_resampling
from . import codebook as codebook
from . import conv as conv
from . import corruptions as corruptions
from . import devices as devices
from . import diagonal_lstm as diagonal_lstm
from . import dropout as dropout
from . import gradient_penalties as gradient_penalties
from . import heads as heads
from . import image_damage as image_damage
from . import judgements as judgements
from . import likelihoods as likelihoods
from . import maxout as maxout
from . import minibatch as minibatch
from . import normalised_weights as normalised_weights
from . import posteriors as posteriors
from . import priors as priors
from . import reconstructions as reconstructions
from . import recurrent as recurrent
from . import row_lstm as row_lstm
