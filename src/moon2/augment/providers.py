"""Which provider the settings name; its file is imported only then, so the defaults need neither torch nor server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moon2.augment.enrichment import EnrichmentError, TextProvider
from moon2.augment.expansion import ExpansionError, ImageProvider

if TYPE_CHECKING:
    from moon2.augment.settings import ImageSettings, TextSettings


def text_provider(settings: TextSettings, prompts: str | None = None) -> TextProvider:
    """The provider that `settings.provider` names.

    Args:
        settings: which provider, which model, and how it is reached.
        prompts: a folder of changed prompts, see `moon2.augment.prompts.load_prompts`; None for moon2's own.

    Raises:
        EnrichmentError: there is no such provider, or "none" was asked for.
        PromptError: a changed prompt cannot be used.
    """
    if settings.provider == "rules":
        from moon2.augment.rules import RulesProvider

        return RulesProvider()
    if settings.provider == "openai":
        from moon2.augment.chat import ChatProvider

        return ChatProvider(settings, prompts)
    if settings.provider == "transformers":
        from moon2.augment.local_chat import LocalChatProvider

        return LocalChatProvider(settings, prompts)
    raise EnrichmentError(
        f"text provider {settings.provider!r} makes no enriched titles; choose rules, openai or transformers"
    )


def image_provider(settings: ImageSettings, prompts: str | None = None) -> ImageProvider:
    """The provider that `settings.provider` names.

    Args:
        settings: which provider, which model, and how it is reached.
        prompts: a folder of changed prompts, see `moon2.augment.prompts.load_prompts`; None for moon2's own.

    Raises:
        ExpansionError: there is no such provider, or "none" was asked for.
        PromptError: a changed prompt cannot be used.
    """
    if settings.provider == "classical":
        from moon2.augment.classical import ClassicalProvider

        return ClassicalProvider()
    if settings.provider == "diffusers":
        from moon2.augment.editing import EditingProvider

        return EditingProvider(settings, prompts)
    if settings.provider == "openai":
        from moon2.augment.editing_api import EditingServerProvider

        return EditingServerProvider(settings, prompts)
    raise ExpansionError(
        f"image provider {settings.provider!r} makes no expanded images; choose classical, diffusers or openai"
    )
