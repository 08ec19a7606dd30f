"""The networks that are checked: those of torch, torchvision, timm and transformers, small, with seeded weights."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from niwaki._compat import import_torchvision
from whole import own


@dataclass
class Model:
    """A network to check.

    Attributes:
        module: in eval mode.
        inputs: makes them for a batch and a size: a tuple, or a dict of arguments by name.
        sizes: those that it is checked at; it is calibrated and compiled with the first.
    """

    module: nn.Module
    inputs: Callable[[int, Any], Any]
    sizes: tuple[Any, ...]


class Results(nn.Module):
    """A network of transformers that returns some of its results, called with some arguments fixed."""

    def __init__(self, net: nn.Module, *names: str, **fixed: Any) -> None:
        super().__init__()
        self.net, self.names, self.fixed = net, names, fixed

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        results = self.net(*args, **kwargs, **self.fixed)
        found = tuple(results[name] for name in self.names)
        return found[0] if len(found) == 1 else found


class Detector(nn.Module):
    """Backbone and heads of a detector of torchvision, without the boxes, whose number depends on values."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.backbone, self.head = net.backbone, net.head

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(list(self.backbone(x).values()))


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 32)
        self.lstm = nn.LSTM(32, 48, 2, batch_first=True, bidirectional=True)
        self.out = nn.Linear(96, 10)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(self.lstm(self.embed(ids))[0])


class Translator(nn.Module):
    """Encoder and decoder of GRUs; the decoder sees the words that should have come before."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(100, 32), nn.Embedding(80, 32)
        self.encoder, self.decoder = nn.GRU(32, 48, batch_first=True), nn.GRU(32, 48, batch_first=True)
        self.out = nn.Linear(48, 80)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        state = self.encoder(self.source(source))[1]
        return self.out(self.decoder(self.target(target), state)[0])


class Attending(nn.Module):
    """nn.Transformer with embeddings."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 32)
        self.net = nn.Transformer(32, 4, 2, 2, 64, batch_first=True, **options)
        self.out = nn.Linear(32, 100)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        return self.out(self.net(self.embed(source), self.embed(target), tgt_mask=mask, tgt_is_causal=True))


class Encoder(nn.Module):
    """nn.TransformerEncoder that does not look at padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 32)
        self.net = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.net(self.embed(ids), src_key_padding_mask=ids == 0)


def images(batch: int, size: Any, channels: int = 3) -> tuple[torch.Tensor]:
    """Noise; a size is that of a square, or all sizes after the channels."""
    return (torch.randn(batch, channels, *(size if isinstance(size, tuple) else (size, size))),)


def words(batch: int, size: int) -> tuple[torch.Tensor]:
    """Ids, the last ones padding where there are enough."""
    ids = torch.randint(1, 100, (batch, size))
    if size > 3:
        ids[0, -2:] = 0
    return (ids,)


def pairs(batch: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids of a source and of a target that is longer."""
    return torch.randint(0, 80, (batch, size)), torch.randint(0, 80, (batch, size + 3))


def tokens(batch: int, size: int) -> dict[str, torch.Tensor]:
    """Ids and a mask, which hides some of the first sequence."""
    mask = torch.ones(batch, size, dtype=torch.int64)
    if batch > 1 and size > 2:
        mask[0, -(size // 3) :] = 0
    return {"input_ids": torch.randint(5, 200, (batch, size)), "attention_mask": mask}


def decoded(batch: int, size: int) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.randint(0, 200, (batch, size)), "encoder_hidden_states": torch.randn(batch, 50, 64)}


def both(batch: int, size: int) -> dict[str, torch.Tensor]:
    return {
        "input_ids": torch.randint(3, 200, (batch, size)),
        "decoder_input_ids": torch.randint(3, 200, (batch, size // 2 + 1)),
    }


_TEXT = {
    "vocab_size": 200, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
    "max_position_embeddings": 64,
}  # fmt: skip
_IMAGE = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 64,
    "patch_size": 16,
}  # fmt: skip
_WHISPER = {
    "d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_layers": 2,
    "decoder_attention_heads": 4, "decoder_ffn_dim": 128, "num_mel_bins": 40, "max_source_positions": 50,
    "max_target_positions": 64, "vocab_size": 200, "pad_token_id": 0, "use_cache": False,
}  # fmt: skip
_STATES, _POOLED, _LOGITS = ("last_hidden_state",), ("last_hidden_state", "pooler_output"), ("logits",)
_LENGTHS = (16, 33, 7, 1)

# Class, what it returns, inputs, sizes, options of its configuration.
_TRANSFORMERS: dict[str, tuple[tuple[str, ...], Any, tuple[Any, ...], dict[str, Any]]] = {
    "BertModel": (_POOLED, tokens, _LENGTHS, _TEXT),
    "BertForSequenceClassification": (_LOGITS, tokens, _LENGTHS, _TEXT),
    "BertForMaskedLM": (_LOGITS, tokens, _LENGTHS, _TEXT),
    "DistilBertModel": (_STATES, tokens, _LENGTHS, {
        "vocab_size": 200, "dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128, "max_position_embeddings": 64}),
    "RobertaModel": (_POOLED, tokens, _LENGTHS, _TEXT),
    "RobertaForSequenceClassification": (_LOGITS, tokens, _LENGTHS, _TEXT),
    "AlbertModel": (_POOLED, tokens, _LENGTHS, {**_TEXT, "embedding_size": 32}),
    "ElectraModel": (_STATES, tokens, _LENGTHS, {**_TEXT, "embedding_size": 32}),
    "MPNetModel": (_STATES, tokens, _LENGTHS, _TEXT),
    "DebertaV2Model": (_STATES, tokens, _LENGTHS, _TEXT),
    "ModernBertModel": (_STATES, tokens, _LENGTHS, {**_TEXT, **dict.fromkeys(
        ("pad_token_id", "eos_token_id", "bos_token_id", "cls_token_id", "sep_token_id"), 0)}),
    "T5EncoderModel": (_STATES, tokens, _LENGTHS, {
        "vocab_size": 200, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}),
    "CLIPTextModel": (_POOLED, tokens, _LENGTHS, {**_TEXT, "eos_token_id": 2}),
    "GPT2LMHeadModel": (_LOGITS, tokens, _LENGTHS, {
        "vocab_size": 200, "n_positions": 64, "n_embd": 64, "n_layer": 2, "n_head": 4, "use_cache": False}),
    "OPTModel": (_STATES, tokens, _LENGTHS, {
        **_TEXT, "ffn_dim": 128, "word_embed_proj_dim": 64, "use_cache": False}),
    "LlamaModel": (_STATES, tokens, _LENGTHS, {**_TEXT, "num_key_value_heads": 2, "use_cache": False}),
    "BartModel": (_STATES, both, (16, 33, 7), {
        "vocab_size": 200, "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "max_position_embeddings": 64,
        "use_cache": False}),
    "CLIPVisionModel": (_POOLED, images, (64,), _IMAGE),
    "ViTModel": (_POOLED, images, (64,), _IMAGE),
    "ViTForImageClassification": (_LOGITS, images, ((96, 64), 32, 16, 64), _IMAGE),
    "SegformerForSemanticSegmentation": (_LOGITS, images, (64, (96, 64), 128), {
        "hidden_sizes": [16, 32, 48, 64], "num_attention_heads": [1, 2, 3, 4], "depths": [1, 1, 1, 1],
        "decoder_hidden_size": 32}),
    "WhisperEncoder": (_STATES, lambda batch, size: (torch.randn(batch, 40, size),), (100,), _WHISPER),
    "WhisperDecoder": (_STATES, decoded, (8, 21, 1), _WHISPER),
    "Wav2Vec2Model": (_STATES, lambda batch, size: (torch.randn(batch, size),), (2000, 3333, 900), {
        **_IMAGE, "conv_dim": (32, 32, 32), "conv_stride": (5, 2, 2), "conv_kernel": (10, 3, 2),
        "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "num_feat_extract_layers": 3}),
}  # fmt: skip


def _transformers(name: str) -> Model:
    import transformers
    from transformers.models.whisper import modeling_whisper

    results, inputs, sizes, options = _TRANSFORMERS[name]
    kind = getattr(transformers, name, None) or getattr(modeling_whisper, name)
    fixed = {"interpolate_pos_encoding": True} if name == "ViTForImageClassification" else {}
    return Model(Results(kind(kind.config_class(**options)), *results, **fixed), inputs, sizes)


_TORCH: dict[str, tuple[Callable[[], nn.Module], Any, tuple[Any, ...]]] = {
    "LSTM tagger": (Tagger, words, (12, 30, 5, 1)),
    "GRU encoder and decoder": (Translator, pairs, (12, 30, 5, 1)),
    "nn.Transformer": (Attending, pairs, (12, 30, 5, 1)),
    "nn.Transformer, norm first": (lambda: Attending(norm_first=True, activation="gelu"), pairs, (12, 30, 5, 1)),
    "nn.TransformerEncoder, padding": (Encoder, words, (12, 30, 5, 1)),
}


def sentences(batch: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids, and how long each sentence is."""
    return torch.randint(0, 100, (batch, size)), torch.randint(1, size + 1, (batch,))


def sound(batch: int, size: int) -> tuple[torch.Tensor]:
    return (torch.randn(batch, size) / 8,)


_OWN: dict[str, tuple[Callable[[], nn.Module], Any, tuple[Any, ...]]] = {
    "U-Net": (own.UNet, images, (64, (96, 64), 128)),
    "U-Net, resized": (lambda: own.UNet(resize=True), images, (64, (96, 64), 128)),
    "YOLO": (own.Yolo, images, (64, (96, 64), 128)),
    "Conformer": (own.Conformer, sound, (8000, 16000, 5000)),
    "WaveNet": (own.WaveNet, lambda batch, size: (torch.randn(batch, 1, size),), (1000, 16000, 1)),
    "HiFi-GAN": (own.Vocoder, lambda batch, size: (torch.randn(batch, 80, size),), (8, 63, 1)),
    "LSTM tagger, lengths": (own.Lengths, sentences, (12, 30, 5, 1)),
}

_SQUARE = (64, (96, 64), 128)
_FILMS = ((4, 64, 64), (8, 64, 48), (5, 112, 112))
# Sizes, and how it is made of what torchvision gives.
_TORCHVISION: dict[str, tuple[tuple[Any, ...], Callable[[Any], nn.Module] | None, dict[str, Any]]] = {
    **{name: (_SQUARE, None, {}) for name in (
        "swin_t", "swin_v2_t", "convnext_tiny", "mobilenet_v3_small", "mobilenet_v2", "shufflenet_v2_x0_5",
        "mnasnet0_5", "squeezenet1_1", "efficientnet_b0", "efficientnet_v2_s", "regnet_y_400mf", "regnet_x_400mf",
        "resnet18", "resnext50_32x4d", "wide_resnet50_2", "densenet121", "alexnet", "vgg11", "vgg11_bn")},
    "maxvit_t": ((224,), None, {}),
    "vit_b_16": ((64,), None, {"image_size": 64}),
    "googlenet": (_SQUARE, None, {"init_weights": False, "aux_logits": False}),
    "inception_v3": ((96, (128, 96), 299), None, {"init_weights": False, "aux_logits": False}),
    **{name: (_SQUARE, lambda net: Results(net, "out"), {"weights_backbone": None}) for name in (
        "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large", "fcn_resnet50")},
    **{name: ((128, (160, 128), 96), Detector, {"weights_backbone": None}) for name in (
        "ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn", "fcos_resnet50_fpn")},
    **dict.fromkeys(("r3d_18", "swin3d_t"), (_FILMS, None, {})),
    "s3d": (((16, 224, 224), (14, 256, 224)), None, {}),
    "mvit_v1_b": (((16, 224, 224),), None, {}),
}  # fmt: skip

_TIMM: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        ("convnext_atto", "mobilevit_xxs", "efficientvit_b0", "fastvit_t8", "poolformer_s12", "edgenext_xx_small",
         "xcit_nano_12_p16_224", "nfnet_l0", "mixnet_s", "hrnet_w18_small"), _SQUARE),
    **dict.fromkeys(("tf_efficientnet_b0", "tf_mobilenetv3_small_100"), (64, (97, 65), 128)),
    **dict.fromkeys(("swin_tiny_patch4_window7_224", "levit_128s", "coat_lite_tiny"), (224,)),
    "vit_tiny_patch16_224": ((96, 64), 64, 32, 16), "deit_small_patch16_224": (64,),
}  # fmt: skip


def _timm(name: str) -> Model:
    import timm

    options: dict[str, Any] = {"img_size": 64} if name.startswith(("vit", "deit")) else {}
    if name.startswith("vit"):
        options["dynamic_img_size"] = True
    return Model(timm.create_model(name, **options), images, _TIMM[name])


def _torchvision(name: str) -> Model:
    sizes, wrap, options = _TORCHVISION[name]
    net = import_torchvision().models.get_model(name, weights=None, **options)
    return Model(wrap(net) if wrap else net, images, sizes)


SHALLOW = ("deepseek_vit_412m", "gemma4_vit_167m", "qwen3_vit_306m")  # of which there are no small ones


def _family(name: str) -> Model:
    """A network of timm, as small as it takes its images."""
    import timm

    depth: dict[str, Any] = {"depth": 2} if name in SHALLOW else {}
    with torch.device("meta"):
        whole: Any = timm.create_model(name, **depth)
    channels, *wanted = (whole.pretrained_cfg or {}).get("input_size", (3, 224, 224))
    for size in (64, 96, 126, 128, 192, None):
        shape = (size, size) if size else tuple(wanted)
        for given in ({"img_size": size}, {}) if size else ({},):
            options: dict[str, Any] = {**depth, **given}
            try:
                torch.manual_seed(0)
                net = timm.create_model(name, **options).eval()
                with torch.no_grad():
                    net(*images(2, shape, channels))
            except Exception:  # of whatever kind: it does not take this size
                continue
            return Model(net, functools.partial(images, channels=channels), (shape, (2 * shape[0], shape[1])))
    raise RuntimeError(f"{name} takes no size that was tried.")


GROUPS: dict[str, tuple[Callable[[str], Model], tuple[str, ...]]] = {
    "transformers": (_transformers, tuple(_TRANSFORMERS)),
    "torchvision": (_torchvision, tuple(_TORCHVISION)),
    "timm": (_timm, tuple(_TIMM)),
    "torch": (lambda name: Model(_TORCH[name][0](), *_TORCH[name][1:]), tuple(_TORCH)),
    "own": (lambda name: Model(_OWN[name][0](), *_OWN[name][1:]), tuple(_OWN)),
}


def build(name: str) -> Model:
    """The network of a name such as 'timm/mixnet_s' or 'family/mixnet_s', with seeded weights."""
    import_torchvision()  # timm and transformers import it, too
    torch.manual_seed(0)
    group, _, rest = name.partition("/")
    return _family(rest) if group == "family" else GROUPS[group][0](rest)


# What small networks are called.
_SMALL = (
    "zepto", "atto", "femto", "pico", "nano", "xxs", "xx_small", "x_small", "xs", "tiny", "0", "small", "_s", "18",
    "12",
)  # fmt: skip


def families() -> list[str]:
    """The smallest network of each module of timm: of the five whose names promise it, the one of fewest parameters."""
    import_torchvision()
    import timm

    found: list[tuple[int, str]] = []
    for module in timm.list_modules():
        names = [name for name in timm.list_models(module=module) if not name.startswith("test_")]
        counts: list[tuple[int, str]] = []
        for name in sorted(
            names, key=lambda name: (next((i for i, x in enumerate(_SMALL) if x in name), 99), len(name))
        )[:5]:
            with torch.device("meta"):
                counts.append((sum(each.numel() for each in timm.create_model(name).parameters()), name))
        if counts:
            found.append(min(counts))
    return [f"family/{name}" for _, name in sorted(found)]
