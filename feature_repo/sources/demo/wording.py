"""The written grammar of the demo catalogue: how one attribute is said in English and in Chinese.

Every sentence states one attribute and nothing else, so a description holds no claim that the attributes do not hold. `[is|are]`
picks singular or plural by the product's noun; `{v}` is the value with its unit; `{noun}` and `{colour}` are the product's own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

Value = str | float | int | bool


@dataclass(frozen=True)
class Attribute:
    """One attribute: its Chinese name, its unit in both languages, and sentences that state it (for a flag: that it is true)."""

    zh: str
    unit: str
    unit_zh: str
    say: tuple[str, ...]
    say_zh: tuple[str, ...]


def _a(zh: str, unit: str, say: str, say_zh: str) -> Attribute:
    """`unit` is `english/chinese` or empty; sentences are separated by ` | `."""
    en, _, cn = unit.partition("/")
    return Attribute(zh, en, cn or en, tuple(say.split(" | ")), tuple(say_zh.split(" | ")))


ATTRIBUTES: Mapping[str, Attribute] = {
    "type": _a("类型", "", "", ""),
    "colour": _a("颜色", "", "[It comes|They come] in {v}. | The colour is {v}.", "颜色为{v}。 | 本款为{v}。"),
    "screen_size": _a(
        "屏幕尺寸", "inches/英寸", "The screen measures {v} across the diagonal. | The screen is {v} in size.", "屏幕尺寸为{v}。 | 配备{v}屏幕。"
    ),
    "storage": _a("存储容量", "GB", "[It has|They have] {v} of storage. | Storage comes to {v}.", "存储容量为{v}。 | 内置{v}存储空间。"),
    "memory": _a("内存", "GB", "[It runs|They run] with {v} of memory. | Memory comes to {v}.", "内存为{v}。 | 配备{v}内存。"),
    "battery_life": _a(
        "续航时间",
        "hours/小时",
        "One charge lasts up to {v}. | The battery runs for up to {v} on one charge.",
        "一次充电最长可用{v}。 | 续航时间最长{v}。",
    ),
    "battery_capacity": _a("电池容量", "mAh/毫安时", "The battery holds {v}. | Battery capacity is {v}.", "电池容量为{v}。 | 内置{v}电池。"),
    "charging_power": _a(
        "充电功率", "W/瓦", "[It charges|They charge] at up to {v}. | Charging runs at up to {v}.", "最高支持{v}充电。 | 充电功率最高{v}。"
    ),
    "weight": _a("重量", "g/克", "[It weighs|They weigh] {v}. | The weight is {v}.", "重量为{v}。 | 重{v}。"),
    "heavy_weight": _a("重量", "kg/千克", "[It weighs|They weigh] {v}. | The weight is {v}.", "重量为{v}。 | 重{v}。"),
    "waterproof": _a("防水", "", "[It is|They are] waterproof. | The design is waterproof.", "支持防水。 | 采用防水设计。"),
    "warranty": _a("保修期", "months/个月", "The warranty covers {v}. | [It comes|They come] with {v} of warranty.", "保修期为{v}。 | 提供{v}保修。"),
    "resolution": _a("像素", "megapixels/万像素", "The sensor records {v}. | Photos have up to {v}.", "有效像素为{v}。 | 传感器为{v}。"),
    "optical_zoom": _a("光学变焦", "x/倍", "Optical zoom reaches {v}. | The lens offers {v} optical zoom.", "支持{v}光学变焦。 | 光学变焦可达{v}。"),
    "focal_length": _a("焦距", "mm/毫米", "The focal length is {v}. | [It has|They have] a focal length of {v}.", "焦距为{v}。 | 镜头焦距{v}。"),
    "max_height": _a("最大高度", "cm/厘米", "[It extends|They extend] to {v}. | The maximum height is {v}.", "最大高度为{v}。 | 可升高至{v}。"),
    "max_load": _a("承重", "kg/千克", "[It carries|They carry] up to {v}. | The maximum load is {v}.", "最大承重{v}。 | 可承重{v}。"),
    "noise_cancelling": _a(
        "主动降噪", "", "Active noise cancelling is built in. | [It has|They have] active noise cancelling.", "支持主动降噪。 | 具备主动降噪功能。"
    ),
    "wireless": _a("无线连接", "", "[It connects|They connect] without a cable. | The connection is wireless.", "支持无线连接。 | 采用无线连接。"),
    "output_power": _a("输出功率", "W/瓦", "Output power is {v}. | [It delivers|They deliver] {v} of output.", "输出功率为{v}。 | 输出功率{v}。"),
    "power": _a("功率", "W/瓦", "[It is|They are] rated at {v}. | The power rating is {v}.", "功率为{v}。 | 额定功率{v}。"),
    "genre": _a("题材", "", "The genre is {v}. | [It belongs|They belong] to the genre {v}.", "题材为{v}。 | 属于{v}类作品。"),
    "runtime": _a("片长", "minutes/分钟", "The running time is {v}. | [It runs|They run] for {v}.", "片长{v}。 | 全片共{v}。"),
    "director": _a("导演", "", "[It was|They were] directed by {v}. | {v} directed [it|them].", "由{v}执导。 | 导演为{v}。"),
    "format": _a("规格", "", "The format is {v}. | [It comes|They come] in the format {v}.", "规格为{v}。 | 以{v}形式发售。"),
    "audio_languages": _a("音轨语言", "", "Audio is in {v}. | The soundtrack is in {v}.", "音轨语言为{v}。 | 提供{v}音轨。"),
    "author": _a("作者", "", "[It was|They were] written by {v}. | The author is {v}.", "作者为{v}。 | 由{v}撰写。"),
    "pages": _a("页数", "pages/页", "[It has|They have] {v}. | The volume runs to {v}.", "共{v}。 | 全书{v}。"),
    "binding": _a("装帧", "", "The binding is {v}. | [It is|They are] bound in {v}.", "装帧为{v}。 | 采用{v}装帧。"),
    "players": _a("玩家人数", "players/人", "[It is|They are] for up to {v}. | Up to {v} can take part.", "最多支持{v}同玩。 | 最多{v}参与。"),
    "play_time": _a(
        "游戏时长", "hours/小时", "The main story takes about {v}. | Plan about {v} for the main story.", "主线时长约{v}。 | 通关主线约需{v}。"
    ),
    "round_time": _a("单局时长", "minutes/分钟", "One round takes about {v}. | Plan about {v} for a round.", "单局约{v}。 | 每局时长约{v}。"),
    "minimum_age": _a(
        "适用年龄",
        "years/岁",
        "[It is|They are] suitable from the age of {v}. | The recommended age starts at {v}.",
        "适合{v}及以上。 | 建议年龄{v}起。",
    ),
    "pieces": _a("件数", "pieces/件", "The set contains {v}. | [It consists|They consist] of {v}.", "全套共{v}。 | 套装含{v}。"),
    "material": _a("材质", "", "[It is|They are] made of {v}. | The material is {v}.", "材质为{v}。 | 采用{v}制成。"),
    "dimensions": _a("尺寸", "", "[It measures|They measure] {v}. | The dimensions are {v}.", "尺寸为{v}。 | 外形尺寸{v}。"),
    "seats": _a("座位数", "seats/人", "[It offers|They offer] {v}. | There are {v}.", "可坐{v}。 | 可供{v}就座。"),
    "sleeps": _a("可住人数", "people/人", "[It sleeps|They sleep] {v}. | There is room for {v}.", "可住{v}。 | 可供{v}使用。"),
    "capacity": _a("容量", "L/升", "[It holds|They hold] {v}. | The capacity is {v}.", "容量为{v}。 | 可容纳{v}。"),
    "volume": _a("净含量", "ml/毫升", "[It contains|They contain] {v}. | The pack holds {v}.", "净含量{v}。 | 每瓶{v}。"),
    "dishwasher_safe": _a(
        "可用洗碗机清洗", "", "[It is|They are] dishwasher safe. | [It goes|They go] in the dishwasher.", "可用洗碗机清洗。 | 可放入洗碗机清洗。"
    ),
    "machine_washable": _a(
        "可机洗", "", "[It is|They are] machine washable. | [It goes|They go] in the washing machine.", "可机洗。 | 可放入洗衣机清洗。"
    ),
    "brightness": _a("亮度", "lumens/流明", "[It gives|They give] {v} of light. | Brightness is {v}.", "亮度为{v}。 | 可提供{v}的亮度。"),
    "dimmable": _a("可调光", "", "[It is|They are] dimmable. | The light can be dimmed.", "可调节亮度。 | 支持调光。"),
    "fit": _a("版型", "", "The fit is {v}. | [It is|They are] cut for a {v} fit.", "版型为{v}。 | 采用{v}版型。"),
    "sole": _a("鞋底", "", "The sole is made of {v}. | [It has|They have] a {v} sole.", "鞋底为{v}。 | 采用{v}鞋底。"),
    "lining": _a("衬里", "", "The lining is {v}. | Inside there is a {v} lining.", "衬里为{v}。 | 内里采用{v}。"),
    "pockets": _a("口袋数", "pockets/个", "[It has|They have] {v}. | There are {v}.", "共有{v}口袋。 | 设有{v}口袋。"),
    "skin_type": _a("适用肤质", "", "[It is|They are] made for {v}. | The formula is meant for {v}.", "适合{v}。 | 适用于{v}。"),
    "scent": _a("香型", "", "The scent is {v}. | [It smells|They smell] of {v}.", "香型为{v}。 | 带有{v}香气。"),
    "vegan": _a("纯素配方", "", "The formula is vegan. | [It is|They are] vegan.", "采用纯素配方。 | 为纯素配方。"),
    "season_length": _a(
        "花期", "weeks/周", "[It flowers|They flower] for about {v}. | The flowering season lasts about {v}.", "花期约{v}。 | 开花期约{v}。"
    ),
    "cable_length": _a("线长", "m/米", "The cable is {v} long. | [It has|They have] {v} of cable.", "线长{v}。 | 电线长{v}。"),
    "run_time": _a(
        "工作时间",
        "minutes/分钟",
        "[It works|They work] for up to {v} per charge. | One charge is enough for up to {v} of work.",
        "充满电可工作{v}。 | 单次充电最长工作{v}。",
    ),
    "noise_level": _a("噪音", "dB/分贝", "The noise level is {v}. | [It runs|They run] at {v}.", "运行噪音为{v}。 | 噪音{v}。"),
    "fill_power": _a("填充物", "", "The filling is {v}. | [It is|They are] filled with {v}.", "填充物为{v}。 | 内部填充{v}。"),
    "firmness": _a("软硬度", "", "The feel is {v}. | Firmness is {v}.", "软硬度为{v}。 | 躺感{v}。"),
    "thickness": _a("厚度", "mm/毫米", "[It is|They are] {v} thick. | The thickness is {v}.", "厚度为{v}。 | 厚{v}。"),
    "blade_length": _a("刃长", "cm/厘米", "The blade is {v} long. | Blade length is {v}.", "刃长{v}。 | 刀刃长度为{v}。"),
}
"""Attribute names as they stand in `products.attributes`; `heavy_weight` and `fill_power` are written as `weight` and `filling`."""

WRITTEN_AS = {"heavy_weight": "weight", "fill_power": "filling"}
"""Grammar keys that share a public attribute name: the same fact in another unit, or a plainer name."""

OPENINGS = (
    "The {series} {noun} by {brand} [comes|come] in {colour}.",
    "From {brand} [comes|come] the {series} {noun} in {colour}.",
    "{brand} makes the {series} {noun} in {colour}.",
    "[This is|These are] the {series} {noun} from {brand}, in {colour}.",
)
OPENINGS_ZH = (
    "这款{noun}出自{brand}{series}系列，颜色为{colour}。",
    "{brand}{series}系列{noun}，颜色为{colour}。",
    "{brand}{series}系列的这款{noun}为{colour}。",
)
OPENINGS_MODEL_ZH = (
    "这款{noun}来自{brand}，型号为 {series}，颜色为{colour}。",
    "{brand} {series} {noun}，颜色为{colour}。",
    "{brand}推出的 {series} {noun}为{colour}。",
)
OPENINGS_NO_COLOUR = (
    "The {series} {noun} [is|are] made by {brand}.",
    "From {brand} [comes|come] the {series} {noun}.",
    "[This is|These are] the {series} {noun} from {brand}.",
)
OPENINGS_NO_COLOUR_ZH = ("这款{noun}出自{brand}{series}系列。", "{brand}{series}系列推出了这款{noun}。", "这是{brand}{series}系列的{noun}。")
OPENINGS_MEDIA = (
    "“{work}” is {a_genre} {noun} from {brand}.",
    "{brand} presents “{work}”, {a_genre} {noun}.",
    "“{work}” comes from {brand} and is {a_genre} {noun}.",
)
OPENINGS_MEDIA_ZH = (
    "《{work}》是{brand}推出的一{classifier}{genre}类{noun}。",
    "{brand}出品的《{work}》是一{classifier}{genre}类{noun}。",
    "这{classifier}{genre}类{noun}名为《{work}》，由{brand}推出。",
)


def article(words: str) -> str:
    """`words` with its indefinite article, by sound for the words that the catalogue uses."""
    vowel = re.match(r"(?i)[aeio]|u(?!ni|se|ti)|8|11\b|18\b|hour|honest", words) is not None
    return f"{'an' if vowel else 'a'} {words}"


def agree(template: str, plural: bool) -> str:
    """`[is|are]` becomes its first or its second half."""
    return re.sub(r"\[([^|\]]*)\|([^\]]*)\]", lambda match: match.group(2 if plural else 1), template)


def spoken(key: str, value: Value) -> str:
    """A value with its unit as an English reader writes it: `6.1 inches`, `128 GB`, `5x`."""
    unit = ATTRIBUTES[key].unit
    if key == "optical_zoom":
        return f"{value}x"
    return f"{_number(value)} {unit}" if unit else str(value)


def spoken_zh(key: str, value: Value) -> str:
    """A value with its unit in Chinese: Latin symbols keep a space, Chinese units do not."""
    unit = ATTRIBUTES[key].unit_zh
    if not unit:
        return str(value)
    return f"{_number(value)} {unit}" if unit.isascii() else f"{_number(value)}{unit}"


def _number(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else str(value)
