"""One schedule from a trained network to a small one: zeros that grow, then training with masks and rounding."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import nn

from niwaki.modules.checks import check_model
from niwaki.modules.copies import keep_frozen
from niwaki.onnx.plain import without_rounding
from niwaki.optimization.equalize import equalization_calls, equalize_with
from niwaki.optimization.optimize import OptimizeConfig, optimize
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.prune import prune_with_reasons
from niwaki.pruning.pruner import Pruner
from niwaki.pruning.schedule import CubicSchedule
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.inputs import batches, check_calibration
from niwaki.quantization.quantize import quantize as quantize_at_once
from niwaki.quantization.training import convert, prepare
from niwaki.runs.ranks import follow_first
from niwaki.training.config import FinetuneConfig


class Phase:
    """A stretch of training with one network.

    Attributes:
        name: 'prune' or 'quantize'.
        network: to be trained, in train mode; wrap it in DistributedDataParallel, if you like.
        steps: how many to train it.
        begin: steps of the phases before.
    """

    def __init__(self, name: str, network: nn.Module, steps: int, begin: int, pruner: Pruner | None = None) -> None:
        self.name, self.network, self.steps, self.begin = name, network, steps, begin
        self.pruner = pruner

    def step(self) -> None:
        """After each step of the optimizer, before the gradients are cleared."""
        if self.pruner is not None:
            self.pruner.step()


class JointTraining:
    """Walks a trained network through pruning and quantization-aware training, in the caller's own loop.

        joint = niwaki.JointTraining(model, images, prune=niwaki.PruneConfig(0.75), quantize=niwaki.QuantizeConfig(),
                                     steps=epochs * len(loader))
        for phase in joint:
            optimizer = torch.optim.SGD(phase.network.parameters(), lr=0.01)
            for x, y in islice(endless(loader), phase.steps):
                optimizer.zero_grad()
                criterion(phase.network(x), x, y).backward()
                optimizer.step()
                phase.step()
        small = joint.result

    In the first phase zeros grow along a cubic schedule (Zhu & Gupta, 2017) over `prune_share` of all steps, and the
    network recovers over the rest of the phase; second order prunes before the first step. The second phase takes
    `quantize_share` of the steps: weights and inputs of layers are rounded as int8 will, and the masks stay. A network
    with a codebook has no second phase; its codebook is fitted to the trained weights at the end.

    Under torch.distributed every process does the same, and holds what the first one measured; where one of them fails
    between the phases, all stop. Gradients are the caller's, by DistributedDataParallel around `phase.network`.

    Args:
        model: a trained float32 network on the CPU. It is not changed.
        calibration: as in niwaki.compress; walked through several times.
        prune, quantize: what becomes of it; None leaves a part out.
        steps: of the optimizer, in all phases together.
        config: shares of the phases, and learned_steps; FinetuneConfig() where None.
        optimize: what is done first.
        checkpoint: a folder for second order, see niwaki.prune.
        progress: tells on stderr how far what is not training is.

    Attributes:
        reasons: after the first phase has begun, why layers were not pruned, or what was odd about them, by name.
        result: after the last phase, the compressed network: niwaki.nn layers, ready for niwaki.compile. Without
            `quantize`, the pruned network in float32.

    Raises:
        TypeError, ValueError: an argument is not fit; says which and why.
    """

    def __init__(
        self,
        model: nn.Module,
        calibration: Any,
        *,
        prune: PruneConfig | None = None,
        quantize: QuantizeConfig | None = None,
        steps: int,
        config: FinetuneConfig | None = None,
        optimize: OptimizeConfig | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> None:
        model = without_rounding(check_model(model, "JointTraining"))
        if prune is None and quantize is None:
            raise TypeError("niwaki.JointTraining: give prune=PruneConfig(...), quantize=QuantizeConfig(...) or both.")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(f"niwaki.JointTraining: steps must be a whole number of at least 1, not {steps!r}.")
        for name, value, kind in (
            ("prune", prune, PruneConfig), ("quantize", quantize, QuantizeConfig), ("config", config, FinetuneConfig),
        ):  # fmt: skip
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"niwaki.JointTraining: {name} must be a {kind.__name__}, not {type(value).__name__}.")
        if prune is not None and prune.pattern == "channels":
            raise ValueError(
                "niwaki.JointTraining: whole channels are cut out at once; call niwaki.prune first, and give what it "
                "returns."
            )
        items = check_calibration(calibration, model)
        # It is walked through several times.
        self._items = items if hasattr(items, "__len__") and hasattr(items, "__getitem__") else list(items)
        self._model, self._prune, self._quantize = model, prune, quantize
        self._steps, self._config = steps, config or FinetuneConfig()
        self._optimize, self._checkpoint, self._progress = optimize, checkpoint, progress
        self._transform = quantize.transform if quantize is not None else None
        self._pruner: Pruner | None = None
        self._result: nn.Module | None = None
        self.reasons: dict[str, str] = {}

    @property
    def result(self) -> nn.Module:
        """The compressed network, after the last phase."""
        if self._result is None:
            raise RuntimeError("niwaki.JointTraining: the result is there after the last phase; train through all.")
        return self._result

    @property
    def steps(self) -> int:
        """Of the optimizer, in all phases together."""
        return self._steps

    def __iter__(self) -> Iterator[Phase]:
        network = follow_first(self._optimized)
        rounded = self._quantize is not None and self._quantize.codebook is None
        late = round(self._config.quantize_share * self._steps) if rounded else 0
        early = self._steps - late
        if self._prune is not None:
            network = follow_first(partial(self._pruned, network))
        if early:
            name = "prune" if self._prune is not None else "train"
            yield Phase(name, network.train(), early, 0, self._pruner)
        if rounded:
            network = follow_first(partial(self._prepared, network))
            if late:
                yield Phase("quantize", network.train(), late, early)
        self._result = follow_first(partial(self._finished, network, rounded=rounded))

    def _optimized(self) -> nn.Module:
        first = next(batches(self._items, self._transform, self._model)).copy()
        # Dropout is for training.
        plain = dataclasses.replace(self._optimize or OptimizeConfig(), remove_dropout=False)
        network = optimize(self._model, plain, args=first.args, kwargs=first.kwargs)
        if self._quantize is not None and self._quantize.equalize:
            calls = equalization_calls(self._items, self._quantize, self._model)
            network = equalize_with(network, calls, self._quantize, progress=self._progress)
        keep_frozen(network, self._model)
        return network

    def _pruned(self, network: nn.Module) -> nn.Module:
        assert self._prune is not None
        if self._prune.importance != "second_order":
            end = round(self._config.prune_share * self._steps)
            self._pruner = Pruner(network, self._prune, schedule=CubicSchedule(0, end, max(1, end // 50)))
            self.reasons = self._pruner.reasons
            return network
        stream = batches(self._items, self._transform, self._model)
        pruned, self.reasons = prune_with_reasons(
            network, self._prune, stream, checkpoint=self._checkpoint, progress=self._progress
        )
        return pruned

    def _baked(self, network: nn.Module) -> nn.Module:
        """The network of the first phase, without masks."""
        if self._pruner is not None:
            self._pruner.finish()
            self._pruner = None
        return network.eval()

    def _prepared(self, network: nn.Module) -> nn.Module:
        assert self._quantize is not None
        quantize, learned = dataclasses.replace(self._quantize, equalize=False), self._config.learned_steps
        return prepare(self._baked(network), self._items, quantize, learned_steps=learned, progress=self._progress)

    def _finished(self, network: nn.Module, *, rounded: bool) -> nn.Module:
        if rounded:
            return convert(network.eval(), self._items, self._quantize, progress=self._progress)
        baked = self._baked(network)
        if self._quantize is None:
            return baked
        quantize = dataclasses.replace(self._quantize, equalize=False)  # it is already
        return quantize_at_once(baked, self._items, quantize, progress=self._progress)
