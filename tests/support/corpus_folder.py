"""Small corpora in five languages, as finished corpus folders in the format of docs/formats.md."""

import json
import random
from pathlib import Path

import zstandard

from palimpsest.artifact import write_manifest

LANGUAGES = ("en", "fr", "de", "ar", "ja")
SENTENCES = {
    "en": "The miller's daughter didn't sleep. At 12:45 a cart of 3500 apples rolled by. Who would've thought it? "
    "Rain fell on the slate roofs, softly. She counted the bells; nobody answered.",
    "fr": "L’été dernier, nous avons traversé la vallée à pied. Le garçon cherchait sa clé près du vieux chêne. "
    "Qu’est-ce que c’est ? Un œuf coûte 1,25 €. Là-bas, la forêt brûlait déjà.",
    "de": "Über den Dächern kreisten fünf Störche. Die Straße nach Süden war gesperrt. Wer hätte das gedacht? "
    "Im Jahr 1897 zählte das Dorf 214 Einwohner. Der Müller grüßte höflich.",
    "ar": "جلس الصياد قرب النهر ينتظر الفجر. كَتَبَ الطالب رسالةً طويلة إلى أمه. هل رأيتم القمر الليلة؟ "
    "بلغ عدد السكان ١٢٣٤ نسمة. عادت السفينة، ولم يعد أحد.",
    "ja": "山の上に小さな寺があった。雨が止むと、子供たちは川へ走った。値段は三百円です！ "
    "「もう帰ろう」と彼は言った。カメラとノートを机に置いた。",
}
NASTY = (
    "",
    " ",
    "\n\n\t \r\n  end",
    "<|endoftext|> looks special, <|endoftext|><|endoftext|> but </s> is not",
    "controls \x00\x01\x07\x1b[0m\x7f and \u200b\u200d\ufeff\u2028",
    "👩‍👩‍👧‍👦🏳️‍🌈🙂 1234567890 ½ Ⅷ ٣٤",
    "हिन्दी में लिखा, ภาษาไทย, עִבְרִית, 한국어, ქართული, አማርኛ, 𓀀𐍈, 汉字",
    "don't DON'T l’septième it’ll I'VE 's",
    "x" * 3000 + " " * 3000 + "\u0301" * 50,
    "\ufffd \U0010ffff \ue000",
)


def some_text(language: str, number: int, seed: int) -> str:
    """``number`` words of the language's sentences, in an order of their own."""
    rng = random.Random(f"{language}/{seed}")
    parts = SENTENCES[language].replace("。", "。 ").split(" ")
    return " ".join(rng.choice(parts) for _ in range(number))


def documents(language: str, number: int, seed: int) -> list[str]:
    return [some_text(language, 5 + (i * 37) % 90, seed * 1000 + i) for i in range(number)]


def write_corpus(folder: Path, **splits: list[list[str]] | dict[str, list[list[str]]]) -> Path:
    """write_corpus(folder, train=[[text, …], …], validation=[…]) → a finished corpus folder; a list is a shard.

    A dict of such lists, by source, gives several sources; a list alone is the source "given".
    """
    files, counts = [], {}
    for split, sources in splits.items():
        named = sources if isinstance(sources, dict) else {"given": sources}
        texts = [text for shards in named.values() for shard in shards for text in shard]
        counts[split] = {"documents": len(texts), "bytes": sum(len(text.encode()) for text in texts)}
        for name, number, shard in ((n, i, s) for n, shards in named.items() for i, s in enumerate(shards)):
            path = folder / split / f"{name}-{number:05}.jsonl.zst"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps({"id": f"{number}/{i}", "text": t, "score": 0.9}) for i, t in enumerate(shard)]
            path.write_bytes(zstandard.compress("".join(line + "\n" for line in lines).encode()))
            files.append(path)
    write_manifest(folder, stage="corpus", params={}, inputs={}, files=files, counts=counts)
    return folder
