"""niwaki.prune: the weights of least importance become zero, and stay zero."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from niwaki.errors import unknown_option
from niwaki.layerwise.sequences import write_back
from niwaki.modules.checks import check_model
from niwaki.modules.copies import bake_parametrizations, copy_model
from niwaki.modules.layer import Layer, named_layers
from niwaki.onnx.plain import without_rounding
from niwaki.options import PruneOptions
from niwaki.pruning.channels import prune_channels
from niwaki.pruning.config import PruneConfig, check_sparsity
from niwaki.pruning.criteria import Loss, taylor_scores
from niwaki.pruning.mask import original_of, set_mask
from niwaki.pruning.recurrent import RecurrentPruner, recurrent_targets
from niwaki.pruning.second_order import Finish, Pruned, prune_layers
from niwaki.pruning.select import choose, expand, n_of_m, scores_of
from niwaki.pruning.targets import find_targets, leave
from niwaki.quantization.inputs import Batch, batches, check_calibration
from niwaki.runs.checkpoint import Checkpoint
from niwaki.runs.progress import track
from niwaki.runs.together import check_together, together

if TYPE_CHECKING:
    from typing import Unpack

_log = logging.getLogger("niwaki")
_ARGUMENTS = ("calibration", "transform", "loss", "checkpoint", "distributed", "ray", "progress")


def prune(
    model: nn.Module,
    config: PruneConfig | None = None,
    *,
    calibration: Any = None,
    transform: Callable[[Any], Any] | None = None,
    loss: Loss | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    distributed: bool = False,
    ray: str | None = None,
    progress: bool = True,
    **options: Unpack[PruneOptions],
) -> nn.Module:
    """Returns a copy of the network with its weights of least importance masked to zero, or its channels cut out.

    The copy trains like any network: the masks are parametrizations and stay in force under every optimizer. Pruning it
    again, with a higher sparsity, continues where this call stopped. Layers that the pattern does not fit stay dense;
    the logger 'niwaki' says which and why, and the report of niwaki.compress repeats it. For zeros that grow in number
    while the network is trained, there is niwaki.Pruner.

    With importance='second_order', layers are pruned in the order in which the network calls them. In each, the zeros
    are chosen and the other weights (and the bias) are adapted so that its outputs, on the calibration inputs and after
    the pruned layers before it, stay as close as they can to those of `model`. Batch norms use their running
    statistics.

    With pattern='channels', the result is a smaller network: see niwaki/pruning/channels.py.

    Args:
        model: a float32 network on the CPU. It is not changed.
        config: the options. Instead of one, its fields may be given by name: niwaki.prune(model, sparsity=0.75).
        calibration: for second order, typical inputs, as in niwaki.compress; 512 to 1024 are a good number. As many are
            used as fit 3 GB of memory with the activations of the network. For 'taylor', items that `loss` takes, such
            as the batches of a loader. For 'channels', the first item shows how the layers depend on each other.
        transform: called with each item of the calibration; returns the input.
        loss: for 'taylor', called with the network and an item; returns the loss, a scalar: for images and labels,
            lambda net, item: cross_entropy(net(item[0]), item[1]).
        checkpoint: for second order, a folder that keeps each layer that is done. After an interruption, the same call
            goes on from there. It may be deleted afterwards.
        distributed, ray: for second order, as in niwaki.compress.
        progress: tells on stderr how far it is: a bar on a terminal, elsewhere a line every half minute.

    Examples:
        >>> pruned = niwaki.prune(model, sparsity=0.5, pattern="unstructured")
        >>> weights = pruned[5].weight
        >>> int((weights == 0).sum()) > 0.4 * weights.numel()
        True

    Raises:
        TypeError, ValueError: an argument or a layer is not fit; says which and why.
        NiwakiError: the model cannot be copied, or, for second order, not captured by torch.export; or the pattern is
            'channels' and Torch-Pruning is not installed.
    """
    checked = make_config(config, dict(options))
    _check_arguments(checked, calibration, transform, loss, checkpoint)
    if distributed or ray is not None:
        if checked.importance != "second_order" or checked.pattern == "channels":
            raise TypeError(
                "niwaki.prune: only importance='second_order' is shared by processes; leave distributed and ray out."
            )
        check_together("niwaki.prune", distributed, ray)
        all_options = {"config": checked, "transform": transform, "checkpoint": checkpoint}
        shared: nn.Module = together("prune", model, calibration, all_options, ray=ray, progress=progress)
        return shared
    model = without_rounding(check_model(model, "prune"))
    if checked.pattern == "channels":
        example = next(batches(check_calibration(calibration, model), transform, model))
        items = None if loss is None else _items(model, calibration, transform, progress)
        return prune_channels(model, checked, example, items=items, loss=loss)
    if checked.importance == "magnitude":
        return prune_with_reasons(model, checked)[0]
    if checked.importance == "taylor":
        assert loss is not None
        return _by_taylor(model, checked, _items(model, calibration, transform, progress), loss)
    stream = batches(check_calibration(calibration, model), transform, model)
    return prune_with_reasons(model, checked, stream, checkpoint=checkpoint, progress=progress)[0]


def _items(model: nn.Module, calibration: Any, transform: Callable[[Any], Any] | None, progress: bool) -> Iterable[Any]:
    items: Iterable[Any] = track(check_calibration(calibration, model), "scoring weights", progress)
    return items if transform is None else map(transform, items)


def _check_arguments(config: PruneConfig, calibration: Any, transform: Any, loss: Any, checkpoint: Any) -> None:
    importance = config.importance
    if importance == "movement":
        raise TypeError(
            "niwaki.prune: importance='movement' is what training does to the weights; train with niwaki.Pruner."
        )
    if importance == "magnitude" and config.pattern != "channels" and (calibration, transform) != (None, None):
        raise TypeError(
            "niwaki.prune: importance='magnitude' looks at no inputs; leave calibration out, or ask for "
            "importance='second_order'."
        )
    if config.pattern == "channels" and calibration is None:
        raise TypeError(
            "niwaki.prune: the pattern 'channels' needs calibration=, at least one input, to follow the channels."
        )
    if importance == "second_order" and calibration is None:
        raise TypeError("niwaki.prune: importance='second_order' needs calibration=, some hundred typical inputs.")
    if importance == "taylor" and (calibration is None or not callable(loss)):
        raise TypeError(
            "niwaki.prune: importance='taylor' needs calibration=, some hundred inputs with labels, and loss=, such as "
            "lambda net, item: cross_entropy(net(item[0]), item[1])."
        )
    if loss is not None and importance != "taylor":
        raise TypeError(f"niwaki.prune: importance='{importance}' has no use for loss; leave it out, or say 'taylor'.")
    if checkpoint is not None and importance != "second_order":
        raise TypeError("niwaki.prune: only importance='second_order' takes so long that it has a checkpoint.")


def make_config(config: PruneConfig | None, options: dict[str, Any]) -> PruneConfig:
    """The config, or one made of its fields."""
    known = [field.name for field in fields(PruneConfig)]
    for name in options:
        if name not in known:
            raise unknown_option("niwaki.prune", name, [*known, *_ARGUMENTS])
    if config is None:
        if "sparsity" not in options and n_of_m(str(options.get("pattern", ""))) is None:
            raise TypeError("niwaki.prune: give a sparsity, such as sparsity=0.75, or a PruneConfig.")
        if options.get("sparsity") is not None:
            check_sparsity(options["sparsity"], "niwaki.prune")
        return PruneConfig(**options)
    if not isinstance(config, PruneConfig):
        raise TypeError(
            f"niwaki.prune: config must be a PruneConfig, not {type(config).__name__}; or write sparsity={config!r}."
        )
    if options:
        raise TypeError(f"niwaki.prune: give a PruneConfig or {', '.join(options)}, not both.")
    return config


def prune_with_reasons(
    model: nn.Module,
    config: PruneConfig,
    calibration: Iterable[Batch] | None = None,
    *,
    finish: Finish | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    counts: Mapping[str, int] | None = None,
    needed: bool = True,
    recurrent: bool = False,
    progress: bool = True,
) -> tuple[nn.Module, dict[str, str]]:
    """As `prune`. Returns also why a layer stayed as it was, by its name.

    Args:
        model, config, progress: as in `prune`.
        calibration: for second order; one batch after the other.
        finish: for second order, see prune_layers.
        checkpoint: for second order, as in `prune`.
        counts: for second order, how many weights or blocks of each layer to prune, by its name, instead of config's
            sparsity.
        needed: whether a network without a layer to prune is refused.
        recurrent: for second order, whether recurrent layers and cells are pruned, too; they have no masks.
    """
    model = check_model(model, "prune")
    copied = copy_model(model)
    layers, reasons = find_targets(copied, config, needed=needed)
    recurrent = recurrent and config.share > 0
    if not layers and not (recurrent and recurrent_targets(copied, config)):
        return copied, reasons
    if config.importance == "magnitude":
        scores = {name: scores_of(layer.weight, config.pattern) for name, layer in layers.items()}
        _by_scores(layers, scores, config)
    else:
        assert calibration is not None
        run = _Run(config, calibration, finish, checkpoint, counts, recurrent, progress)
        _by_second_order(copied, layers, run, reasons)
    return copied, reasons


def _by_scores(layers: dict[str, Layer], scores: dict[str, torch.Tensor], config: PruneConfig) -> None:
    groups = None
    if config.balance:
        groups = [layer.groups for layer in layers.values()]
        for name, layer in layers.items():
            scores[name] = torch.where(scores_of(layer.weight, config.pattern) == 0, -torch.inf, scores[name])
    kept = choose([scores[name] for name in layers], config.pattern, config.scope, config.share, groups)
    with torch.inference_mode(False), torch.no_grad():
        for layer, keep in zip(layers.values(), kept, strict=True):
            set_mask(layer.module, expand(keep, layer.weight.shape, config.pattern))


def _by_taylor(model: nn.Module, config: PruneConfig, items: Iterable[Any], loss: Loss) -> nn.Module:
    model = check_model(model, "prune")
    copied = copy_model(model)
    layers, _ = find_targets(copied, config)
    wanted = {name: original_of(layer.module).requires_grad for name, layer in layers.items()}
    scores = taylor_scores(copied, layers, items, loss, config.pattern)
    for name, layer in layers.items():
        original_of(layer.module).requires_grad_(wanted[name])
        if name not in scores:
            _log.warning("layer '%s': no finite gradient reached it, so it counts as if the loss ignored it", name)
            scores[name] = torch.zeros_like(scores_of(layer.weight, config.pattern))
        # What is gone stays gone, and comes before what the loss is only indifferent to.
        scores[name] = torch.where(scores_of(layer.weight, config.pattern) == 0, -1.0, scores[name])
    _by_scores(layers, scores, config)
    return copied


@dataclass(frozen=True)
class _Run:
    """What second order is called with: see prune_with_reasons."""

    config: PruneConfig
    calibration: Iterable[Batch]
    finish: Finish | None
    checkpoint: str | os.PathLike[str] | None
    counts: Mapping[str, int] | None
    recurrent: bool
    progress: bool


def _by_second_order(model: nn.Module, layers: dict[str, Layer], run: _Run, reasons: dict[str, str]) -> None:
    """Prunes a baked copy, whose graph torch.export understands, and brings the result back behind the masks."""
    with torch.inference_mode(False):
        baked = copy_model(model).eval()
        bake_parametrizations(baked)
        found = dict(named_layers(baked))
        chosen = [found[name] for name in layers]
        options = (run.config, run.counts, getattr(run.finish, "options", None))
        kept = None if run.checkpoint is None else Checkpoint(run.checkpoint, baked, *options)
        counts = None if run.counts is None else {found[name]: count for name, count in run.counts.items()}
        others = RecurrentPruner(baked, run.config, kept) if run.recurrent else None
        results = prune_layers(
            baked, chosen, run.config, run.calibration, finish=run.finish, checkpoint=kept, counts=counts,
            recurrent=others, progress=run.progress,
        )  # fmt: skip
        for name, note in ({} if others is None else others.notes).items():
            reasons[name] = note
            _log.info("prune: layer '%s': %s", name, note)
            write_back(baked.get_submodule(name), model.get_submodule(name))  # type: ignore[arg-type]
        with torch.no_grad():
            for name, layer in layers.items():
                result: Pruned | None = results.get(found[name])
                if result is None:
                    leave(name, "not pruned: not called as a layer when the network ran", reasons)
                    continue
                if result.note:
                    # Damping keeps its weights near what they were; more various inputs would help.
                    reasons[name] = result.note
                    _log.info("prune: layer '%s': %s", name, result.note)
                original_of(layer.module).copy_(found[name].weight)
                bias = found[name].bias
                if layer.bias is not None and bias is not None:
                    layer.bias.copy_(bias)
                set_mask(layer.module, result.mask)
            _bring_back_others(model, set(layers), found)


def _bring_back_others(model: nn.Module, pruned: set[str], found: Mapping[str, Layer]) -> None:
    """Layers that are not pruned have new factors and biases: the spread of their outputs is that of before."""
    for name, layer in named_layers(model):
        bias = found[name].bias if name in found else None
        if name in pruned or bias is None or layer.bias is None or parametrize.is_parametrized(layer.module):
            continue
        layer.weight.copy_(found[name].weight)
        layer.bias.copy_(bias)
