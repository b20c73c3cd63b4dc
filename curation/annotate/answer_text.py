"""Prepare a model's answer to be read: drop its thoughts, unpack fences, tell refusals and "none" from text."""

from __future__ import annotations

import re
import unicodedata

MOST_ANSWER_CHARACTERS = 20_000  # of one answer; longer ones are a model that has lost its way
DIRECTION_MARKS = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}  # they would turn other text around on a page

THOUGHTS = re.compile(r"<think(?:ing)?>|</think(?:ing)?>", re.IGNORECASE)
FENCED = re.compile(r"^[^\n`]*```[\w-]*[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.MULTILINE)
FENCE = re.compile(r"^[ \t]*```.*\n?", re.MULTILINE)
LISTED = re.compile(r"^[ \t]*(?:[-*+•]|\d+[.)])\s", re.MULTILINE)

_SORRY = r"(?:(?:i am|i'm)(?: \w+)? sorry|sorry(?=[,.!;:]|$| (?:but|for|about|i)\b)|(?:my )?apologies|i apologi[sz]e)\b"
_LEAD = rf"(?:(?:{_SORRY}|unfortunately|as an ai\b)[^.!?\n]{{0,60}}?[,.;:!—–-]+ *(?:but |however,? )?)?"
_PICTURE = (
    r"(?:(?:any|the|this|that|your|an?|attached|actual|provided|uploaded) ){0,3}"
    r"(?:image|picture|photo|file|anything)"
)
_CANNOT = (
    r"(?:i(?: am|'m)(?: \w+)? (?:unable|not able) to|unable to"
    r"|i (?:can't|cannot|can not|could not|couldn't|won't|will not))(?: \w+ly)?\b"
)
_REFUSES = (
    rf"{_CANNOT} (?:assist|help(?! but)|comply|fulfill?|answer|continue|engage|do (?:that|this))\b"
    rf"|{_CANNOT} (?:see|view|access|open|process|look at|analy[sz]e|interpret|describe|display) {_PICTURE}"
    rf"|{_CANNOT} (?:identify|determine|find|see) (?:any|an?|the)"
    r"(?: (?:primary|main|visual|visible))* (?:subject|features?)\b"
    rf"|i (?:do not|don't)(?: \w+ly)? (?:see|have|receive)(?: access to| the ability to \w+)? {_PICTURE}"
    r"|i (?:do not|don't) have (?:access|the (?:ability|capability))\b"
    r"|please (?:provide|upload|share|send|attach)\b"
    r"|(?:there (?:is|are|was|were) )?no (?:image|picture|photo|photograph|attachment)s?"
    r"(?: (?:is|was|were|are|has been|have been))? (?:provided|attached|uploaded|shared|given|included|received)\b"
)
_SORRY_ABROAD = (  # a clause of the writer's: words of a sign that says sorry are no clause
    r"(?:je suis|nous sommes)(?: \w+)? désolée?s?(?:[,.;!]| mais\b|$)|désolée?, |lamento (?:no|que)\b"
    r"|lo siento(?: mucho)?(?:[,.;!]| pero\b|$)|es tut mir(?: \w+)? leid(?:[,.;!]| aber\b|$)|tut mir leid, "
    r"|entschuldigung, (?:aber|ich)\b|mi dispiace(?:[,.;!]| ma\b|$)"
    r"|(?:sinto|lamento) muito(?:[,.;!]| mas\b|$)|(?:me )?desculpe, (?:mas|não|eu)\b"
    r"|(?:很|非常)?(?:抱歉|对不起|對不起)(?:[,，。！!我]|$)"
    r"|申し訳(?:ありません|ございません|ない(?:です)?が)|(?:すみません|ごめんなさい)(?:が|[、。]|$)"
)
_REFUSES_ABROAD = (
    r"je ne (?:peux|puis) pas (?:(?:vous|t'|y|en) ?)*(?:aider|répondre|continuer|traiter"
    r"|(?:voir|analyser|décrire|accéder à|ouvrir) (?:(?:l'|la |une |des |d'|cette |votre |aucune )(?:image|photo)))"
    r"|je ne vois (?:pas d'|aucune )(?:image|photo)"
    r"|no puedo (?:ayudar|asistir|responder|cumplir|continuar"
    r"|(?:ver|analizar|describir|abrir|acceder a) (?:(?:la|una|esta|tu|su|ninguna) )?(?:imagen|foto))"
    r"|no veo ninguna (?:imagen|foto)"
    r"|(?:ich kann|kann ich) (?:(?:ihnen|dir|dabei|damit|hierbei|leider|das|diese \w+) )*nicht (?:\w+ )?"
    r"(?:helfen|beantworten|erfüllen)"
    r"|ich kann (?:leider )?(?:das|dieses|dein|ihr|kein) (?:bild|foto) (?:leider )?(?:nicht )?"
    r"(?:sehen|ansehen|öffnen|analysieren|beschreiben|erkennen)|ich sehe (?:leider )?kein (?:bild|foto)"
    r"|non posso (?:aiutar|assister|risponder|continuar"
    r"|(?:vedere|analizzare|descrivere|aprire) (?:l'|la |una |questa |nessuna )(?:immagine|foto))"
    r"|(?:eu )?não (?:posso|consigo) (?:(?:te|lhe|o) )?(?:ajudar|responder|atender|continuar"
    r"|(?:ver|analisar|descrever|abrir) (?:(?:a|uma|esta|essa|sua|nenhuma) )?(?:imagem|foto))"
    r"|我(?:无法|無法|不能|没有办法)(?:直接)?(?:提供|回答|协助|協助|帮助|幫助|满足|滿足|查看|看到|识别|識別|分析|描述|访问|处理)"
    r"|我(?:看不到|看不见)(?:任何|这张|您的|你的)?(?:图|圖|照片)"
    r"|(?:(?:この|その|ご)?(?:画像|写真|要望|リクエスト|質問)(?:を|に(?:は)?|は))?[^。、\s]{0,6}?"
    r"(?:お手伝い|お答え|お応え|回答|確認|表示|分析|説明)(?:する(?:こと)?)?(?:は|が)?(?:できません|できかねます)(?!と)"
    r"|(?:画像|写真)(?:が|は)(?:見えません|添付されていません)"
)
_BEFORE_ABROAD = r"(?:(?:leider|lamentablemente|desafortunadamente|malheureusement|purtroppo|infelizmente)\b,? )?"
_CANNOT_ABROAD = (  # the writer, and a verb of seeing or knowing: what a sign says is of other things
    r"je (?:ne (?:peux|puis|pourrais|saurais) pas |ne parviens pas à |n'arrive pas à "
    r"|ne suis pas (?:en mesure|capable) (?:de |d'))(?:\w+ment )?(?:l'|les? |la )?"
    r"(?:(?:voir|lire|identifier|déterminer|distinguer|reconnaître|discerner|décrire|confirmer|préciser|vérifier)\b"
    r"|(?:dire|savoir) (?:si|s'|ce|quel|qui|où|avec|combien))"
    r"|(?:yo )?no (?:puedo|podría|logro|consigo|alcanzo a|soy capaz de|estoy en condiciones de) (?:\w+mente )?"
    r"(?:(?:ver|leer|identificar|determinar|distinguir|reconocer|discernir|describir|confirmar|precisar|apreciar"
    r"|verificar)(?:l[aeo]s?)?\b|(?:decir|saber) (?:si|qué|cuá|quién|dónde|con|cómo))"
    r"|(?:ich kann|kann ich) (?:[\w-]+ ){0,5}?(?:nicht|keine?[mnrs]?) (?:[\w-]+ ){0,4}?"
    r"(?:sehen|erkennen|lesen|entziffern|identifizieren|bestimmen|feststellen|unterscheiden|beschreiben|beurteilen"
    r"|bestätigen|sagen(?=,))(?=[,.;:]|$)|(?:ich bin|bin ich) (?:leider )?nicht in der lage\b"
    r"|(?:io )?non (?:posso|potrei|riesco a|sono (?:in grado|capace) di) (?:\w+mente )?"
    r"(?:(?:veder|legger|identificar|determinar|distinguer|riconoscer|discerner|descriver|confermar|precisar|stabilir"
    r"|verificar)(?:e|l[aeio])\b|(?:dire|sapere) (?:se|che|qual|chi|dove|con|come))"
    r"|(?:eu )?não (?:posso|poderia|consigo|sou capaz de|estou em condições de) (?:\w+mente )?"
    r"(?:(?:ver|ler|enxergar|identificar|determinar|distinguir|reconhecer|discernir|descrever|confirmar|precisar"
    r"|verificar)\b|(?:identificá|determiná|distingui|reconhecê|vê|lê)-l[ao]s?\b"
    r"|(?:dizer|saber) (?:se|que|qual|quem|onde|com))"
    r"|我(?:无法|無法|不能|没法|沒法|没有办法|沒有辦法)(?:准确|準確|清楚|清晰|完全)?(?:地)?"
    r"(?:看|辨|识别|識別|确定|確定|判断|判斷|确认|確認|描述|阅读|閱讀|读出|讀出|得知)|我看不[到见見清出]"
    r"|(?:私|わたし)に?は[^。]{0,40}(?:できません|(?:わか|分か)りません|見えません|読めません)。?$"
    r"|[^。、]{1,30}を(?:判別|特定|識別|判断|断定|判読|確認|認識|推測)(?:する(?:こと)?)?[はが]?"
    r"(?:できません(?:でした)?|できかねます)。?$"
)
REFUSAL = re.compile(rf"{_LEAD}(?:{_REFUSES})|{_BEFORE_ABROAD}(?:{_REFUSES_ABROAD})", re.IGNORECASE)
APOLOGY = re.compile(rf"{_SORRY}|{_SORRY_ABROAD}", re.IGNORECASE)
INABILITY = re.compile(rf"{_LEAD}{_CANNOT}|{_BEFORE_ABROAD}(?:{_CANNOT_ABROAD})", re.IGNORECASE)
NOTHING = re.compile(
    r"(?:none|nothing|nil|null|n ?/ ?a|na|not (?:applicable|available)|no(?: visible| other| further| more)* features?)"
    r"(?: of (?:them|(?:these|those|this|the)(?: (?:listed|given|described|above|following))?(?: \w+)?))?"
    r"(?: (?:(?:that )?(?:is|are|was|were|can be|could be) )?(?:\w+ )?"
    r"(?:seen|visible|found|present|here|there|shown|applicable|detected|identified|else))?"
    r"(?: in (?:the|this) (?:picture|image|photo|photograph))?",
    re.IGNORECASE,
)
ENDS = " \t\r\n.,;:!?()[]*_`\"'“”‘’-–—"


def readable(raw: str) -> str:
    """Return an answer without the model's thoughts.

    Raises: ValueError: it is empty, too long, was cut within thoughts or holds broken characters; the message is the
            reason.
    """
    if len(raw.strip()) > MOST_ANSWER_CHARACTERS:
        raise ValueError(f"the answer is longer than the {MOST_ANSWER_CHARACTERS:,} characters accepted")
    text = without_thoughts(raw).strip()
    if not text:
        raise ValueError("the answer is empty")
    return unbroken(text)


def without_thoughts(answer: str) -> str:
    """Return what follows a model's thoughts: `<think>…</think>`, or the end of them where the question began them.

    Raises: ValueError: the answer was cut within its thoughts.
    """
    kept, start, inside = "", 0, False
    for mark in THOUGHTS.finditer(answer):
        if mark[0].startswith("</"):
            kept, start = kept if inside else "", mark.end()
        elif not inside:
            kept += answer[start : mark.start()]
        inside = not mark[0].startswith("</")
    if inside:
        raise ValueError("the answer was cut within the model's thoughts: give it more tokens")
    return kept + answer[start:]


def unfenced(text: str) -> str:
    """Return what lies within the code fences of an answer; without any, or where a list is beside them, the text."""
    inside = "\n".join(block.strip("\n") for block in FENCED.findall(text)).strip()
    return inside if inside and not LISTED.search(FENCED.sub("", text)) else FENCE.sub("", text).strip()


def unbroken(text: str) -> str:
    """Return a text that can be shown.

    Raises: ValueError: it holds a broken or control character.
    """
    for character in text:
        code = ord(character)
        broken = character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cs")
        if (broken and character not in "\n\r\t") or code in DIRECTION_MARKS:
            raise ValueError(f"the answer holds a broken or control character (U+{code:04X})")
    return text


def opens_with_refusal(text: str) -> bool:
    """Tell whether a text begins with the refusal to answer or with not seeing a picture, in the languages known here.

    "I cannot see the back" and "I'm sorry for the mistake, here is the list" refuse nothing.
    """
    return bool(REFUSAL.match(_plain(text)))


def is_refusal(text: str) -> bool:
    """Tell whether a sentence, or an item of a list, is a refusal: it begins like one, or with saying sorry."""
    return bool(APOLOGY.match(_plain(text))) or opens_with_refusal(text)


def is_of_the_writer(text: str) -> bool:
    """Tell whether an item of a list speaks of what its writer cannot do, and not of a picture."""
    return bool(INABILITY.match(_plain(text))) or is_refusal(text)


def says_nothing(text: str) -> bool:
    """Tell whether a text is only a word for nothing: "None", "N/A", "None of these can be seen."."""
    return bool(NOTHING.fullmatch(_plain(text)))


def _plain(text: str) -> str:
    return " ".join(text.replace("’", "'").split()).strip(ENDS)
