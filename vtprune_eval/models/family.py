"""What loading needs to know of an architecture family, and how one of its models is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .base import ImageRules
from .defaults import SPREAD
from .folder import chat_tokenizer, fingerprint, first_line, processor_settings, read_json
from .identity import ModelIdentity

if TYPE_CHECKING:
    import torch

    from .base import VlmAdapter


@dataclass(frozen=True)
class Request:
    """One model to load.

    Attributes:
        name: short name.
        folder: its hub-format folder, None for random weights at the true size.
        random: fill the weights with random numbers, drawn with ``seed``.
        dtype: of the weights.
        device: torch device, or ``SPREAD``.
        attn: attention backend.
        coordinates: frame of the answers.
        identity: what is known of the model before loading.
        tokenizer_folder: where the tokenizer comes from when ``folder`` is None.
        trust_remote_code: whether the folder's own Python code may be run.
    """

    name: str
    folder: Path | None
    random: bool
    seed: int
    dtype: torch.dtype
    device: str
    attn: str
    coordinates: str
    identity: ModelIdentity
    tokenizer_folder: Path
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Family:
    """An architecture family.

    Attributes:
        architecture: names of the model's and the configuration's class in transformers.
        config_class: names of the model's and the configuration's class in transformers.
        model_type: its name in ``config.json``.
        adapter: our face of it.
        sizes: short name to the configuration's arguments at the true size.
        pixels: default limits (smallest, largest area) of an image.
        mean: per channel, on the [0, 1] scale.
        std: per channel, on the [0, 1] scale.
        published_as: architecture that ``config.json`` names, where it is not ``architecture``.
        key_mapping: patterns of weight names in the folder to those of the class, where they differ.
    """

    architecture: str
    model_type: str
    config_class: str
    adapter: type[VlmAdapter]
    sizes: Mapping[str, Mapping[str, Any]]
    pixels: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    published_as: str | None = None
    key_mapping: Mapping[str, str] | None = None

    def classes(self) -> tuple[Any, Any]:
        """The model's and the configuration's class.

        Raises:
            UserError: the installed transformers lacks them.
        """
        import transformers

        try:
            return getattr(transformers, self.architecture), getattr(transformers, self.config_class)
        except AttributeError:
            raise UserError(
                f"transformers {transformers.__version__} has no {self.architecture}; install a newer one: "
                "pip install -U 'transformers<6'."
            ) from None

    def true_config(self, name: str, **special: Any) -> Any:
        """The configuration of ``name`` at its true size; ``special``: token ids of another tokenizer."""
        return self.classes()[1](**{**self.sizes[name], **special})

    def check_folder(self, folder: Path, name: str) -> None:
        """Refuse a folder that does not hold a model of this family.

        Raises:
            UserError: no folder, damaged, or of another architecture.
        """
        path = folder / "config.json"
        if not folder.is_dir() or not path.exists():
            raise UserError(f"{name}: {folder} is not a model folder (no config.json); point --model-path to one.")
        data = read_json(path)
        found = (data.get("architectures") or [data.get("model_type", "unknown")])[0]
        needed = self.published_as or self.architecture
        if found not in {needed, self.model_type}:
            raise UserError(f"{name}: {folder} holds a {found}, but {needed} is needed.")

    def read_config(self, folder: Path, name: str) -> Any:
        """The configuration in ``folder``.

        Raises:
            UserError: see :meth:`check_folder`; or settings that the class does not take.
        """
        self.check_folder(folder, name)
        try:
            return self.build_config(folder)
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise UserError(
                f"{name}: {folder / 'config.json'} does not describe a {self.architecture} ({reason}); "
                "download the folder again."
            ) from error

    def build_config(self, folder: Path) -> Any:
        """The class's configuration from a folder that :meth:`check_folder` lets pass."""
        return self.classes()[1].from_pretrained(folder)

    def image_rules(self, config: Any, folder: Path | None) -> ImageRules:
        """Rules from the folder's image processor; without a folder the published defaults of the family.

        Raises:
            UserError: the folder has no readable image processor configuration.
        """
        vision = config.vision_config
        low, high = self.pixels
        mean, std = self.mean, self.std
        if folder:
            data = processor_settings(folder)
            size = data.get("size") or {}
            low = data.get("min_pixels") or size.get("shortest_edge") or low
            high = data.get("max_pixels") or size.get("longest_edge") or high
            mean, std = tuple(data.get("image_mean") or mean), tuple(data.get("image_std") or std)
        return ImageRules(
            vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size, low, high, mean, std
        )

    def tokenizer(self, ask: Request) -> Any:
        """The tokenizer of the folder; without one the published vocabulary, or the one that stands in for it.

        Raises:
            UserError: see :func:`.folder.chat_tokenizer`.
        """
        if ask.folder is None:
            from . import check_model_name
            from .vocabulary import true_tokenizer

            own = true_tokenizer(check_model_name(ask.name).family)
            if own is not None:
                return own
        return chat_tokenizer(ask.folder or ask.tokenizer_folder, ask.trust_remote_code)

    def load(self, ask: Request) -> VlmAdapter:
        """Load what ``ask`` says.

        Raises:
            UserError: missing, damaged or incomplete files, or not enough memory.
        """
        from .memory import check_memory
        from .random_init import random_model
        from .sharding import device_map, follow, free_per_gpu

        model_class, _ = self.classes()
        config = None if ask.folder is None else self.read_config(ask.folder, ask.name)
        tokenizer = self.tokenizer(ask)
        if config is None:
            special = {
                f"{k}_token_id": tokenizer.convert_tokens_to_ids(f"<|{v}|>")
                for k, v in (
                    ("image", "image_pad"),
                    ("video", "video_pad"),
                    ("vision_start", "vision_start"),
                    ("vision_end", "vision_end"),
                )
            }
            config = self.true_config(ask.name, **special)
        rules = self.image_rules(config, ask.folder)
        config._attn_implementation = ask.attn
        places = None
        if ask.device == SPREAD:
            places = device_map(ask.name, model_class, config, ask.dtype, free_per_gpu())
        else:
            check_memory(ask.name, model_class, config, ask.dtype, ask.device)
        if ask.random or ask.folder is None:
            model = random_model(model_class, config, dtype=ask.dtype, device=ask.device, seed=ask.seed, places=places)
            model.generation_config.eos_token_id = tokenizer.eos_token_id
            print_ = f"random:{ask.seed}"
        else:
            model, print_ = self._trained(model_class, config, ask.folder, ask, places), fingerprint(ask.folder)
        if places is not None:
            follow(model, places)
        model.requires_grad_(False)
        identity = {**ask.identity, "architecture": self.architecture, "fingerprint": print_}
        if places is not None:
            identity["device"] = f"{SPREAD}: {', '.join(sorted(set(places.values())))}"
        # The constructors of the adapters agree; the abstract face has none.
        adapter = self.adapter(ask.name, model, tokenizer, rules, identity, ask.coordinates)  # type: ignore[call-arg]
        adapter.folder = ask.folder
        return adapter

    def _trained(
        self, model_class: Any, config: Any, folder: Path, ask: Request, places: Mapping[str, str] | None
    ) -> Any:
        options: dict[str, Any] = {}
        if self.key_mapping:
            options = {"config": config, "key_mapping": dict(self.key_mapping)}
        if places:
            options["device_map"] = dict(places)
        try:
            model, report = model_class.from_pretrained(
                folder,
                **options,
                dtype=ask.dtype,
                attn_implementation=ask.attn,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
            model = model.eval() if places else model.to(ask.device).eval()
        except Exception as error:
            raise UserError(
                f"{ask.name}: the weights in {folder} cannot be loaded ({first_line(error)}); download the "
                "folder again or point --model-path to a complete one."
            ) from error
        if report["mismatched_keys"]:  # of its own, transformers says that there are some, and not which
            key, found, needed = sorted(report["mismatched_keys"])[0]
            raise UserError(
                f"{ask.name}: {len(report['mismatched_keys'])} tensors in {folder} do not have the shape "
                f"that its config.json gives them (for example {key}: {list(found)} instead of "
                f"{list(needed)}); download the folder again."
            )
        if report["missing_keys"]:  # transformers would fill them with random numbers
            raise UserError(
                f"{ask.name}: the weights in {folder} lack {len(report['missing_keys'])} tensors (for "
                f"example {sorted(report['missing_keys'])[0]}); download the folder again or point "
                "--model-path to a complete one."
            )
        return model
