"""How instructions to a model, addresses, markup and advertising look, in lower-cased text without disguises.

Each form is a regular expression with its telling parts: it can only match where one of them stands, so that a long
description costs a few searches for plain strings instead of forty regular expressions. Repetitions are bounded, so
that no hostile text takes quadratic time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which something untrusted is written.

    Attributes:
        telling: plain strings, one of which is in every match.
        pattern: what is searched.
    """

    telling: tuple[str, ...]
    pattern: re.Pattern[str]

    def matches(self, text: str, end: int) -> Iterator[re.Match[str]]:
        """Matches in text[:end], which is lower-cased."""
        for part in self.telling:
            if part in text:
                yield from self.pattern.finditer(text, 0, end)
                return


def _form(telling: str, pattern: str) -> Form:
    return Form(tuple(telling.split()), re.compile(pattern, re.DOTALL))


_SAY = (
    "say|write|output|print|return|emit|echo|type|append|insert|include|mention|add|use|put|set|make"
    "|call|name|title|repeat|generate|produce|translate"
)
_MODEL = r"(?:ai|a\.i\.|llm|chatbot|bot|assistant|language model|annotator|gpt|chatgpt|claude|gemini|qwen|system)\b"

INSTRUCTIONS = (
    _form(
        "ignor disregard forget overrid overrul bypass vergiss vergess missacht olvid oubli dimentic",
        r"\b(?:ignor|disregard|forget|overrid|overrul|bypass|vergiss|vergess|missacht|olvid|oubli|dimentic)\w*\b[^.\n]{0,40}?"
        r"\b(?:instruc|istruzion|anweisung|prompt|rule|guideline|direction|command|constraint|above|previous|prior|earlier"
        r"|everything|context)",
    ),
    _form("忽略 无视 無視 忘记 忘記 игнорир", r"忽略|无视|無視|忘记|忘記|игнорир"),
    _form(
        "instruction task directive prompt job role answer reply response output",
        r"\b(?:new|updated|additional|important|secret|special|real|following) (?:instructions?|task|directives?)\b"
        r"|\b(?:your|the) (?:instructions?|task|job|role|prompt|answer|reply|response|output)"
        r" (?:is|are|was|must|should|has|will)\b",
    ),
    _form("system", r"\bsystem (?:prompt|message|override|note|instruction)"),
    _form("mode jailbr", r"\b(?:developer|debug|admin|god|dan) mode\b|\bjailbr[eo]ak"),
    _form(
        "you",
        r"\byou (?:are|'re|will|must|should|shall) (?:now|from now|henceforth|no longer|going to|act\b"
        r"|respond|reply|answer"
        r"|write|say|output|print|obey|comply|dan\b"
        r"|an? (?:ai|assistant|bot|chatbot|language|helpful|large|copywriter|translator))"
        r"|\bimagine (?:that )?you are\b",
    ),
    _form(
        "pretend role behave from ai model assistant llm repeat",
        r"\b(?:pretend|role-?play|behave as|from now on|as an? (?:ai|language model|assistant|llm)\b|repeat after me"
        r"|i am an? (?:ai|language model|assistant))",
    ),
    _form(
        "act",
        r"(?<!to )(?<!and )(?<!can )(?<!will )(?<!that )(?<!which )\bact as (?:if|a|an|the|my)\b",
    ),
    _form(
        "attention note message memo instruction dear hey hello hi to",
        rf"\b(?:attention|note|message|memo|instructions?|dear|hey|hello|hi|to)[ ,:]+(?:to |for )?(?:the "
        rf"|all |any )?{_MODEL}",
    ),
    _form(
        "respond reply answer",
        r"\b(?:respond|reply|answer)\b (?:only |exactly |just |always |instead )?(?:with|by|in)\b",
    ),
    _form(
        "following exactly verbatim instead title your brand product",
        rf"\b(?:{_SAY})\b[^.\n]{{0,30}}?\b(?:the following|exactly|verbatim|instead|(?:in |to )?the title"
        r"|your (?:title|reply|answer|response|output)|the brand (?:is|as|name|to)|this product as)",
    ),
    _form(
        "word phrase text string sentence name",
        r"\b(?:say|write|include|append|insert|add|mention|use|print|output|type) (?:only |also |just )?"
        r"the (?:words?|phrase|text|string|sentence|name)\b",
    ),
    _form(": \" '", r"\b(?:say|write|output|print|answer|reply|respond)\b ?(?::|\"|')"),
    _form(
        ": >",
        r"(?:^|[\n.>\]|!?;])\s{0,4}(?:system|assistant|user|human|ai|developer|bot)\s{0,4}(?::|>)|[\"'](?:role|content|title)[\"']\s*:",
    ),
    _form(
        "> ] <<",
        r"<\|?/?\s*(?:im_start|im_end|system|assistant|user|human|inst|s|sys|endoftext|eot_id|product_data|data|instructions?)"
        r"\s*\|?>|\[/?inst\]|<<\s*sys",
    ),
    _form("im_ endoftext eot_id header_id", r"\b(?:im_start|im_end|endoftext|eot_id|start_header_id)\b"),
    _form(
        "end begin",
        r"\bend of (?:the )?(?:data|product|input|prompt|description|title|document|text)\b"
        r"|\bbegin (?:system|instructions?|prompt)\b",
    ),
    _form("``` ### {{", r"```|#{3,}|\{\{"),
    _form("base64 rot13 decode", r"\b(?:base64|rot13|decode (?:this|the following))\b"),
    # Letters one by one: i g n o r e.
    _form("a e i o u", r"(?<![^\W_])(?:[a-z][ ._*\-]{1,2}){6,}"),
)
"""From the first of these on, a text is not trusted."""

_TLD = "shop|store|site|online|app|link|club|live|top|me|us|uk|eu|in|fr|it|es|nl|jp|br|tv|cc|to|ly|gg|ai|dev"
UNWANTED = (
    _form("http ftp hxxp", r"\b(?:https?|ftp|hxxps?)\s*:\s*/*\s*\S*"),
    _form("www", r"\bwww\d?\s*[.,]\s*\S+"),
    _form(
        "@ (at) [at]",
        r"(?<![\w.+-])[\w.+-]{1,64}\s?(?:@|\(at\)|\[at\])\s?[\w-]{1,63}(?:\s?(?:\.|\(dot\)|\[dot\])\s?[\w-]{1,63}){1,5}|(?<!\w)@[a-z_]\w+",
    ),
    _form("#", r"(?<!\w)#[a-z_]\w+"),
    _form(
        "com net org io info biz xyz ru cn co de",
        r"(?<![\w-])[\w-]{1,63}(?:\.[\w-]{1,63}){0,5}\s?(?:\.|\(dot\)|\[\.\]|\[dot\]|\bdot\b)\s?"
        r"(?:com|net|org|io|info|biz|xyz|ru|cn|co|de)\b(?:\.\w\w)?(?:/\S*)?",
    ),
    _form(
        ".",
        rf"(?<![\w-])[\w-]{{2,63}}(?:\.[\w-]{{2,63}}){{0,5}}\.(?:{_TLD})\b(?:/\S*)?"
        rf"|(?<![\w-])[\w-]{{1,63}}\.[a-z]{{2,24}}/\S*",
    ),
    _form(
        "call tel phone fax whats sms text contact hotline",
        r"\b(?:call|tel|telephone|phone|fax|whats ?app|sms|text|contact|hotline)\b(?: us| now"
        r"| at| on| to| no\.?| number)*"
        r"\s*[:.]?\s*\+?[\d(][\d ()./\-]{4,}\d",
    ),
    _form("+ (", r"\+\d[\d ()./\-]{6,}\d|\(\d{2,5}\)\s?\d[\d \-]{4,}\d"),
    _form("- . 0 1 2 3 4 5 6 7 8 9", r"\b\d{3,5}[ \-.]\d{3,4}[ \-.]\d{3,5}\b|\b\d{5}[ \-]\d{5}\b"),
    _form(
        "whats telegram wechat instagram facebook tiktok twitter youtube snapchat mail 微信",
        r"\b(?:whats ?app|telegram|wechat|instagram|facebook|tiktok|twitter|youtube|snapchat|e-?mail)\b|加?微信",
    ),
    _form("<", r"<!--.*?(?:-->|$)|<(script|style)\b.*?(?:</\1\s*>|$)|</?[a-z][^<>]*(?:>|$)"),
    _form("&", r"&(?:[a-z]+\d?|#\d+|#x[0-9a-f]+);"),
    _form("]( ** __ `", r"!?\[[^\]]{0,300}\]\([^)]{0,300}\)|[*_]{2,}|`+"),
    _form(
        "buy order shop purchase grab get hurry act call click subscribe sign register download",
        r"\b(?:buy|order|shop|purchase|grab|get|hurry|act|call|click|subscribe|sign up|register"
        r"|download)\b[ ,]*(?:\w+ ){0,2}?"
        r"(?:now|today|here|online|yours|one free|1 free|it now)\b|\bbuy \w+,? get \w+(?: free| off)?"
        r"|\bhurry(?: up)?\b",
    ),
    _form(
        "click tap visit follow contact",
        r"\b(?:click|tap) (?:here|on|the|below)\b|\bvisit (?:us|our|now|my)\b|\bfollow (?:us|me|our)\b|\bcontact us\b",
    ),
    _form(
        "sale bogo",
        r"\b(?:hot|big|mega|flash|clearance|summer|winter|season|final|grand|super) ?sale\b|\b(?:on"
        r"|for) sale\b|\bsale\b|\bbogo\b",
    ),
    _form(
        "offer deal price discount promo gift bargain value",
        r"\b(?:limited|special|exclusive|today'?s|best|great|hot|free|amazing)[ -](?:time |edition )?"
        r"(?:offers?|deals?|prices?|discounts?|promo\w*|gifts?|bargains?|value)\b|\blowest price\b",
    ),
    _form(
        "off discount cash sale",
        r"\b(?:up ?to |flat |extra )?\d+ ?(?:%|percent|per cent) ?(?:off|discount|cash ?back|sale)\b",
    ),
    _form("%", r"\b\d+ ?% ?(?:original|authentic|genuine|satisfaction|guaranteed?)"),
    _form(
        "discount coupon voucher promo cash rebate bargain clearance giveaway refund",
        r"\b(?:promo|coupon|discount|voucher) code\b(?: \w+)?"
        r"|\b(?:discount|coupon|voucher|promo|promotion|promotional|cash ?back|rebate|bargain|clearance"
        r"|giveaway|refund)s?\b",
    ),
    _form(
        "ship deliver return postage free",
        r"\b(?:free|fast|express|worldwide|same day) (?:shipping|delivery|returns?|postage)\b"
        r"|\bfree of (?:charge|cost)\b"
        r"|\bfor free\b|\bships? (?:free|today)\b",
    ),
    _form(
        "money guarant risk questions last",
        r"\bmoney[ -]?back\b|\b(?:satisfaction |quality )?guarantee[ds]?\b|\brisk[ -]free\b|\bno questions asked\b"
        r"|\bwhile (?:stocks?|supplies) lasts?\b",
    ),
    _form(
        "best top hot number no #1",
        r"\b(?:best|top|hot|number one|no\.? ?1|#1)[ -]?"
        r"(?:seller|selling|sellers|rated|price|quality|choice|brand|product|in class|in the world|ever)\b",
    ),
    _form(
        "cheap unbe miracle must world award doctor clinic seen limited selling miss cart checkout",
        r"\b(?:cheap(?:est|er)?|unbeatable|unbelievable|miracle|must[ -](?:have|buy)|world'?s best"
        r"|world[ -]class|award[ -]winning"
        r"|doctor recommended|clinically proven|as seen on (?:tv|television)|limited stock|selling fast"
        r"|don'?t miss|add to cart"
        r"|checkout)\b",
    ),
    _form("包邮 特价 促销 热卖 爆款 正品 点击 购买", r"包邮|特价|促销|热卖|爆款|正品|点击|购买"),
)
"""Addresses, markup and advertising: each is taken out, what stands around it stays."""
