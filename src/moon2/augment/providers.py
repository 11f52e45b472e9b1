"""Which provider the settings name; its file is imported only then, so the defaults need neither torch nor server."""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from moon2.augment.images.provider import ExpansionError, ImageProvider
from moon2.augment.text.provider import EnrichmentError, TextProvider

if TYPE_CHECKING:
    from moon2.augment.settings import ImageSettings, ModelSettings, TextSettings

TEXT_PROVIDERS = {
    "rules": "text.rules:RulesProvider",
    "openai": "text.openai:ChatProvider",
    "transformers": "text.transformers:LocalChatProvider",
}
IMAGE_PROVIDERS = {
    "opencv": "images.opencv:OpenCVProvider",
    "diffusers": "images.diffusers:EditingProvider",
    "openai": "images.openai:EditingServerProvider",
}


def text_provider(settings: TextSettings, prompts: str | None = None) -> TextProvider:
    """The provider that `settings.provider` names.

    Args:
        settings: which provider, which model, and how it is reached.
        prompts: a folder of changed prompts, see `moon2.augment.prompts.load_prompts`; None for moon2's own.

    Raises:
        EnrichmentError: there is no such provider, or "none" was asked for.
        PromptError: a changed prompt cannot be used.
    """
    if settings.provider not in TEXT_PROVIDERS:
        raise EnrichmentError(
            f"text provider {settings.provider!r} makes no enriched titles; choose rules, openai or transformers"
        )
    provider: TextProvider = _made(TEXT_PROVIDERS, settings, prompts)
    return provider


def image_provider(settings: ImageSettings, prompts: str | None = None) -> ImageProvider:
    """Like `text_provider`, for pictures.

    Raises:
        ExpansionError: there is no such provider, or "none" was asked for.
        PromptError: a changed prompt cannot be used.
    """
    if settings.provider not in IMAGE_PROVIDERS:
        raise ExpansionError(
            f"image provider {settings.provider!r} makes no expanded images; choose opencv, diffusers or openai"
        )
    provider: ImageProvider = _made(IMAGE_PROVIDERS, settings, prompts)
    return provider


def _made(providers: Mapping[str, str], settings: ModelSettings, prompts: str | None) -> Any:
    kind = resolve_name(f"moon2.augment.{providers[settings.provider]}")
    return kind(settings, prompts) if settings.asks_a_model else kind()
