"""Prunes a text classifier of transformers while its Trainer trains it, then writes it in int8 into one file:

    python examples/huggingface/trainer.py --sparsity 0.75 -o classifier.niwaki
    python examples/huggingface/trainer.py --model folder/ --data sentences.csv --sparsity 0.5 -o classifier.niwaki

It needs `transformers` and `accelerate`. With --model and --data, the network and its tokenizer are those of a folder
or a name that transformers knows, and the rows of the file are a text and a label, a number. Without, a small BERT
learns to tell which of two words a list holds more of: seeded, made up here, nothing is fetched.

Two things are niwaki's: `Prune`, a callback that takes away weights as the training goes on, and `Distill`, a Trainer
whose loss is how far the answers are from those of the network as it was.
"""

from __future__ import annotations

import argparse
import copy
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import niwaki

Row = dict[str, torch.Tensor]


class Prune(TrainerCallback):
    """Zeros grow in number over the first two thirds of the training; what is left learns to do without."""

    def __init__(self, config: niwaki.PruneConfig) -> None:
        self._config = config

    def on_train_begin(self, args: Any, state: Any, control: Any, model: nn.Module, **_: Any) -> None:
        schedule = niwaki.CubicSchedule(0, state.max_steps * 2 // 3, every=max(1, state.max_steps // 100))
        self._pruner = niwaki.Pruner(model, self._config, schedule=schedule)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._pruner.step()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._pruner.finish()


class Distill(Trainer):
    """A Trainer that learns from the answers of `teacher`, and a little from the labels."""

    def __init__(self, *args: Any, teacher: nn.Module, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._criterion = niwaki.DistillationLoss(teacher, temperature=2.0).to(self.args.device)

    def compute_loss(self, model: nn.Module, inputs: Row, return_outputs: bool = False, **_: Any) -> Any:
        labels = inputs["labels"]
        inputs = {name: value for name, value in inputs.items() if name != "labels"}
        outputs = model(**inputs)
        loss = self._criterion(outputs, inputs, labels)
        return (loss, outputs) if return_outputs else loss


class Rows(Dataset[Row]):
    """Texts as ids and masks, int64 [length], and their labels."""

    def __init__(self, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> None:
        self.ids, self.mask, self.labels = ids, mask, labels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Row:
        return {"input_ids": self.ids[index], "attention_mask": self.mask[index], "labels": self.labels[index]}

    def batches(self, count: int, size: int = 16) -> list[Row]:
        """The first inputs as the network is called with them: what niwaki calibrates on."""
        ids, mask = self.ids[:count].split(size), self.mask[:count].split(size)
        return [{"input_ids": i, "attention_mask": m} for i, m in zip(ids, mask, strict=True)]


def made_up(count: int, seed: int) -> Rows:
    """Lists of 8 to 24 words of 50; the label says whether word 2 is in them more often than word 3."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, 50, (count, 24), generator=generator)
    of_two = torch.rand(count, 24, generator=generator) < 0.6
    ids = torch.where(of_two, 2 + torch.randint(0, 2, ids.shape, generator=generator), ids)
    length = torch.randint(8, 25, (count, 1), generator=generator)
    mask = (torch.arange(24) < length).long()
    ids = ids * mask
    return Rows(ids, mask, ((ids == 2).sum(1) > (ids == 3).sum(1)).long())


def seeded_model() -> BertForSequenceClassification:
    """A BERT of two layers that knows nothing yet."""
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(vocab_size=50, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256,
                   max_position_embeddings=32, pad_token_id=0)
    )  # fmt: skip


def read(path: Path, tokenizer: Any) -> tuple[Rows, Rows]:
    """Rows of a text and a label: nine tenths to train on, and the others."""
    with path.open(newline="", encoding="utf-8") as file:
        texts, labels = zip(*((row[0], int(row[1])) for row in csv.reader(file)), strict=True)
    found = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))
    parts = order.split([len(texts) - len(texts) // 10, len(texts) // 10])
    rows = [Rows(found["input_ids"][p], found["attention_mask"][p], torch.tensor(labels)[p]) for p in parts]
    return rows[0], rows[1]


def accuracy(network: Any, rows: Rows) -> float:
    """Per cent of right answers."""
    right = 0
    with torch.no_grad():
        for call, labels in zip(rows.batches(len(rows)), rows.labels.split(16), strict=True):
            right += int((network(**call).logits.argmax(1) == labels).sum())
    return 100 * right / len(rows)


def train(kind: type[Trainer], model: nn.Module, rows: Rows, steps: int, rate: float, **options: Any) -> None:
    """Some steps of 32 rows each, with a rate that falls to zero."""
    arguments = TrainingArguments(
        "build/trainer", max_steps=steps, per_device_train_batch_size=32, learning_rate=rate, warmup_steps=steps // 10,
        report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=True, seed=0,
    )  # fmt: skip
    kind(model=model, args=arguments, train_dataset=rows, **options).train()


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, prunes, compresses, and says what became of the accuracy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder or name for transformers; without it, a small BERT is trained first")
    parser.add_argument("--data", type=Path, help="rows of a text and a label, comma-separated")
    parser.add_argument("--sparsity", type=float, default=0.75, help="share of the blocks that become zero")
    parser.add_argument("--steps", type=int, default=600, help="of 32 rows each")
    parser.add_argument("-o", "--output", default="classifier.niwaki", help="the file to write")
    args = parser.parse_args(argv)
    if (args.model is None) != (args.data is None):
        parser.error("--model and --data belong together")
    if args.model is None:
        model: nn.Module = seeded_model()
        rows, test = made_up(4096, seed=0), made_up(1024, seed=1)
        train(Trainer, model, rows, args.steps, 1e-3)
    else:
        model = AutoModelForSequenceClassification.from_pretrained(args.model)
        rows, test = read(args.data, AutoTokenizer.from_pretrained(args.model))
    model.eval()
    before = accuracy(model, test)
    pruned = copy.deepcopy(model)
    config = niwaki.PruneConfig(args.sparsity, importance="magnitude")
    train(Distill, pruned, rows, args.steps, 5e-4, teacher=model, callbacks=[Prune(config)])
    small, report = niwaki.compress(pruned.eval(), rows.batches(256))
    network = niwaki.compile(small, test.batches(2)[0])
    network.save(args.output)
    print(
        f"float32 {before:.2f} %; {report.zeros:.0%} zeros and int8 {accuracy(network, test):.2f} %; {args.output}: "
        f"{Path(args.output).stat().st_size:,} bytes of {report.network.parameter_bytes:,}"
    )


if __name__ == "__main__":
    main()
