"""What the demo shop sells: departments, categories, kinds of product, invented brands, and the values their attributes may take.

All brands, people and works are invented. Values are written `english/chinese`; numbers are `low..high/step` or a ladder `a,b,c`,
where a pricier model of a kind stands higher on the ladder; `yes:0.6` is a flag that 60 % of the models carry.
"""

from collections.abc import Mapping
from dataclasses import dataclass

ELECTRONIC_COLOURS = "graphite/石墨灰 silver/银色 black/黑色 white/白色 midnight blue/午夜蓝 sage green/鼠尾草绿 sand/沙色"
FABRIC_COLOURS = "navy/藏青色 olive/橄榄绿 cream/米白色 charcoal/炭灰色 rust/铁锈红 sky blue/天蓝色 black/黑色 burgundy/酒红色 mustard/芥末黄"
HOME_COLOURS = "oak brown/橡木棕 white/白色 slate grey/石板灰 sage green/鼠尾草绿 terracotta/陶土色 cream/米白色 deep blue/深蓝色"
BRIGHT_COLOURS = "red/红色 yellow/黄色 blue/蓝色 green/绿色 orange/橙色 turquoise/绿松石色"


@dataclass(frozen=True)
class Kind:
    """One kind of product: its noun, price range in the shop's currency, and its attributes.

    `title` names the attributes that the title carries; `media` are works with a title of their own; `repeat` is bought again when used up.
    """

    noun: str
    zh: str
    low: float
    high: float
    attributes: Mapping[str, str]
    title: tuple[str, ...] = ("colour",)
    plural: bool = False
    media: bool = False
    repeat: bool = False
    classifier: str = "款"


@dataclass(frozen=True)
class Category:
    name: str
    zh: str
    department: str
    department_zh: str
    brands: str
    kinds: tuple[Kind, ...]


PHONE_BRANDS = "Orvanta/奥凡塔 Lumiqo/鹿米可 Tessim/泰熙姆 Kadrel/卡德睿 Novhara/诺哈拉 Zindal/辛达尔 Halvex/海维思"
SOUND_BRANDS = "Sonverra/颂维拉 Tonquil/通奎尔 Auvane/欧梵 Murmurio/慕莫里 Pexilon/佩希隆 Halvex/海维思"
CAMERA_BRANDS = "Iridoq/艾瑞朵 Fovella/孚维拉 Optarin/欧塔林 Glaswen/格拉文 Kadrel/卡德睿"
HOME_BRANDS = "Hollinby/霍林比 Tavemoor/塔薇莫 Nestrelle/耐思翠 Oakwend/橡文德 Brivelle/布瑞薇 Sundvald/松德瓦"
KITCHEN_BRANDS = "Copperlyn/铜林 Savorett/飒沃瑞 Kettrick/凯崔克 Panwick/潘维克 Oakwend/橡文德"
FASHION_BRANDS = "Marisette/玛丽赛 Veldane/维丹 Thornwyke/棘维克 Liorro/里欧洛 Anselie/安瑟莉 Corvaye/柯薇"
SPORT_BRANDS = "Strivane/驰凡 Peaklo/峰洛 Runnara/润纳拉 Trailwen/踏文 Vantoro/梵拓罗"
BEAUTY_BRANDS = "Dewlilly/露莉莉 Floriska/芙洛丝卡 Purethe/蒲蕾思 Sylvanne/希凡妮 Amberose/琥玫"
TOY_BRANDS = "Tumblo/滚洛 Piplark/皮普云雀 Woodlings/木小灵 Gigglett/咯咯特"
GARDEN_BRANDS = "Fernlow/蕨洛 Greenbarrow/绿丘 Mossgate/苔门 Rootwyn/根温"

CATEGORIES: tuple[Category, ...] = (
    Category(
        "Phones",
        "手机",
        "Electronics",
        "电子产品",
        PHONE_BRANDS,
        (
            Kind(
                "smartphone",
                "智能手机",
                179,
                1149,
                {
                    "storage": "64,128,256,512",
                    "memory": "4,6,8,12,16",
                    "screen_size": "5.8..6.9/0.1",
                    "battery_life": "18..34/1",
                    "battery_capacity": "3800..5600/100",
                    "charging_power": "18,25,45,67",
                    "weight": "158..228/2",
                    "waterproof": "yes:0.6",
                    "warranty": "24,24,36",
                    "colour": ELECTRONIC_COLOURS,
                },
                ("storage", "colour"),
            ),
            Kind(
                "feature phone",
                "按键手机",
                29,
                89,
                {
                    "screen_size": "1.8..2.8/0.2",
                    "battery_life": "60..140/10",
                    "weight": "78..118/2",
                    "warranty": "12,24",
                    "colour": ELECTRONIC_COLOURS,
                },
            ),
        ),
    ),
    Category(
        "Tablets",
        "平板电脑",
        "Electronics",
        "电子产品",
        PHONE_BRANDS,
        (
            Kind(
                "tablet",
                "平板电脑",
                129,
                999,
                {
                    "storage": "64,128,256,512",
                    "memory": "4,6,8,12",
                    "screen_size": "8.4..12.9/0.1",
                    "battery_life": "8..16/1",
                    "charging_power": "15,20,33,45",
                    "weight": "310..680/5",
                    "warranty": "24,24,36",
                    "colour": ELECTRONIC_COLOURS,
                },
                ("screen_size", "storage", "colour"),
            ),
            Kind(
                "e-reader",
                "电子书阅读器",
                79,
                279,
                {
                    "storage": "8,16,32,64",
                    "screen_size": "6..10.3/0.1",
                    "battery_life": "300..700/20",
                    "weight": "158..390/2",
                    "waterproof": "yes:0.5",
                    "warranty": "24",
                    "colour": ELECTRONIC_COLOURS,
                },
                ("storage", "colour"),
            ),
        ),
    ),
    Category(
        "Laptops",
        "笔记本电脑",
        "Electronics",
        "电子产品",
        PHONE_BRANDS,
        (
            Kind(
                "laptop",
                "笔记本电脑",
                399,
                2199,
                {
                    "memory": "8,16,16,32,64",
                    "storage": "256,512,1024,2048",
                    "screen_size": "13..16/0.1",
                    "battery_life": "7..20/1",
                    "heavy_weight": "1.0..2.4/0.1",
                    "charging_power": "45,65,100,140",
                    "warranty": "24,24,36",
                    "colour": "graphite/石墨灰 silver/银色 black/黑色 midnight blue/午夜蓝",
                },
                ("screen_size", "memory", "colour"),
            ),
        ),
    ),
    Category(
        "Cameras",
        "相机",
        "Electronics",
        "电子产品",
        CAMERA_BRANDS,
        (
            Kind(
                "mirrorless camera",
                "微单相机",
                549,
                2899,
                {
                    "resolution": "20,24,26,33,45",
                    "screen_size": "2.9..3.2/0.1",
                    "weight": "340..760/10",
                    "waterproof": "yes:0.2",
                    "warranty": "24,24,36",
                    "colour": "black/黑色 silver/银色",
                },
                ("resolution", "colour"),
            ),
            Kind(
                "compact camera",
                "便携相机",
                199,
                899,
                {
                    "resolution": "12,16,20,24",
                    "optical_zoom": "3,5,8,10,20",
                    "weight": "190..340/5",
                    "waterproof": "yes:0.3",
                    "warranty": "24",
                    "colour": ELECTRONIC_COLOURS,
                },
                ("optical_zoom", "colour"),
            ),
            Kind(
                "camera lens",
                "相机镜头",
                159,
                1499,
                {
                    "focal_length": "16,24,35,50,85,135",
                    "weight": "150..940/10",
                    "waterproof": "yes:0.4",
                    "warranty": "24,36",
                    "colour": "black/黑色 silver/银色",
                },
                ("focal_length", "colour"),
            ),
            Kind(
                "tripod",
                "三脚架",
                39,
                349,
                {
                    "max_height": "120..185/5",
                    "max_load": "3,5,8,12",
                    "heavy_weight": "0.9..2.6/0.1",
                    "material": "aluminium/铝合金 carbon fibre/碳纤维",
                    "warranty": "24,36,60",
                    "colour": "black/黑色 graphite/石墨灰",
                },
                ("max_height", "material"),
            ),
        ),
    ),
    Category(
        "Audio",
        "影音耳机",
        "Electronics",
        "电子产品",
        SOUND_BRANDS,
        (
            Kind(
                "over-ear headphones",
                "头戴式耳机",
                59,
                399,
                {
                    "battery_life": "20..60/2",
                    "noise_cancelling": "yes:0.6",
                    "wireless": "yes:1",
                    "weight": "190..330/5",
                    "warranty": "24",
                    "colour": ELECTRONIC_COLOURS,
                },
                plural=True,
            ),
            Kind(
                "wireless earbuds",
                "无线耳机",
                29,
                279,
                {
                    "battery_life": "4..11/1",
                    "noise_cancelling": "yes:0.5",
                    "waterproof": "yes:0.5",
                    "weight": "34..58/1",
                    "warranty": "12,24",
                    "colour": ELECTRONIC_COLOURS,
                },
                plural=True,
            ),
            Kind(
                "portable speaker",
                "便携音箱",
                35,
                299,
                {
                    "output_power": "8,15,20,30,40",
                    "battery_life": "8..26/1",
                    "waterproof": "yes:0.7",
                    "weight": "280..980/20",
                    "warranty": "24",
                    "colour": ELECTRONIC_COLOURS,
                },
            ),
        ),
    ),
    Category(
        "Wearables",
        "智能穿戴",
        "Electronics",
        "电子产品",
        SOUND_BRANDS + " Vantoro/梵拓罗",
        (
            Kind(
                "smartwatch",
                "智能手表",
                99,
                499,
                {
                    "screen_size": "1.2..2/0.1",
                    "battery_life": "36..240/12",
                    "waterproof": "yes:0.9",
                    "weight": "28..62/1",
                    "warranty": "24",
                    "colour": ELECTRONIC_COLOURS,
                },
            ),
            Kind(
                "fitness band",
                "健身手环",
                25,
                99,
                {
                    "battery_life": "120..360/24",
                    "waterproof": "yes:0.9",
                    "weight": "16..32/1",
                    "warranty": "12,24",
                    "colour": BRIGHT_COLOURS + " black/黑色",
                },
            ),
        ),
    ),
    Category(
        "Films",
        "电影",
        "Media",
        "影音图书",
        "Lanternfall Pictures/灯落影业 Ninth Heron Films/九鹭电影 Tidewheel Studio/潮轮影业 Amber Reel/琥珀胶卷",
        (
            Kind(
                "film",
                "影片",
                7,
                32,
                {
                    "genre": "drama/剧情 comedy/喜剧 thriller/惊悚 documentary/纪录 adventure/冒险 mystery/悬疑",
                    "runtime": "84..168/2",
                    "director": "people",
                    "format": "DVD/DVD光盘 Blu-ray/蓝光光盘 digital copy/数字版",
                    "audio_languages": "English/英语 English and Mandarin/英语和普通话 Mandarin/普通话",
                    "minimum_age": "6,12,16",
                },
                ("format",),
                media=True,
                classifier="部",
            ),
        ),
    ),
    Category(
        "Games",
        "游戏",
        "Media",
        "影音图书",
        "Pebblegate Studio/石门工作室 Brasswing Games/铜翼游戏 Moonmoth Interactive/月蛾互动 Tallhat Games/高帽游戏",
        (
            Kind(
                "computer game",
                "电脑游戏",
                14,
                69,
                {
                    "genre": "strategy/策略 puzzle/解谜 racing/竞速 role-playing/角色扮演 adventure/冒险 simulation/模拟经营",
                    "players": "2,4,8",
                    "play_time": "8..60/2",
                    "format": "download code/下载码 disc/光盘",
                    "minimum_age": "6,12,16",
                },
                ("format",),
                media=True,
            ),
            Kind(
                "board game",
                "桌游",
                15,
                65,
                {
                    "genre": "strategy/策略 family/家庭 cooperative/合作 detective/推理",
                    "players": "4,5,6,8",
                    "round_time": "20..120/10",
                    "minimum_age": "6,8,10,12",
                    "pieces": "60..320/10",
                },
                (),
                media=True,
            ),
            Kind(
                "card game",
                "卡牌游戏",
                7,
                25,
                {
                    "genre": "family/家庭 party/聚会 strategy/策略",
                    "players": "4,5,6,8",
                    "round_time": "10..45/5",
                    "minimum_age": "6,8,10",
                    "pieces": "54..160/2",
                },
                (),
                media=True,
            ),
        ),
    ),
    Category(
        "Books",
        "图书",
        "Media",
        "影音图书",
        "Quillhaven Press/羽港出版社 Inkwell Lane/墨井巷出版 Paperboat House/纸船书坊 Stonepage/石页出版",
        (
            Kind(
                "novel",
                "小说",
                8,
                26,
                {
                    "genre": "crime/推理 historical/历史 fantasy/奇幻 science fiction/科幻 contemporary/都市",
                    "author": "people",
                    "pages": "180..620/4",
                    "binding": "paperback/平装 hardback/精装",
                    "weight": "210..720/10",
                },
                ("binding",),
                media=True,
                classifier="本",
            ),
            Kind(
                "handbook",
                "实用手册",
                14,
                48,
                {
                    "genre": "cooking/烹饪 gardening/园艺 photography/摄影 programming/编程 travel/旅行",
                    "author": "people",
                    "pages": "120..420/4",
                    "binding": "paperback/平装 hardback/精装",
                    "weight": "320..1180/10",
                },
                ("binding",),
                media=True,
                classifier="本",
            ),
        ),
    ),
    Category(
        "Furniture",
        "家具",
        "Home",
        "家居",
        HOME_BRANDS,
        (
            Kind(
                "armchair",
                "单人沙发",
                149,
                799,
                {
                    "material": "velvet and beech/天鹅绒与榉木 linen and oak/亚麻与橡木 wool and ash/羊毛与白蜡木",
                    "dimensions": "box:70-90,75-95,78-105",
                    "heavy_weight": "14..32/1",
                    "max_load": "110,120,150",
                    "warranty": "24,60",
                    "colour": FABRIC_COLOURS,
                },
                ("colour", "material"),
            ),
            Kind(
                "bookcase",
                "书架",
                69,
                549,
                {
                    "material": "oak/橡木 pine/松木 bamboo/竹 beech/榉木",
                    "dimensions": "box:60-120,25-38,90-200",
                    "heavy_weight": "12..48/1",
                    "warranty": "24,60",
                    "colour": HOME_COLOURS,
                },
                ("material", "colour"),
            ),
            Kind(
                "sofa",
                "沙发",
                399,
                1899,
                {
                    "seats": "2,3,4",
                    "material": "velvet/天鹅绒 linen/亚麻 leather/皮革 wool/羊毛",
                    "dimensions": "box:150-280,85-105,78-95",
                    "heavy_weight": "38..86/2",
                    "warranty": "24,60",
                    "colour": FABRIC_COLOURS,
                },
                ("seats", "material", "colour"),
            ),
        ),
    ),
    Category(
        "Bedding",
        "床上用品",
        "Home",
        "家居",
        HOME_BRANDS,
        (
            Kind(
                "duvet cover",
                "被套",
                29,
                169,
                {
                    "material": "cotton/棉 linen/亚麻 bamboo viscose/竹纤维 organic cotton/有机棉",
                    "dimensions": "flat:135x200,155x220,200x200,220x240",
                    "machine_washable": "yes:0.95",
                    "heavy_weight": "0.8..2.2/0.1",
                    "colour": FABRIC_COLOURS,
                },
                ("material", "dimensions", "colour"),
            ),
            Kind(
                "pillow",
                "枕头",
                15,
                119,
                {
                    "fill_power": "down/羽绒 latex/乳胶 memory foam/记忆棉 buckwheat/荞麦壳",
                    "firmness": "soft/偏软 medium/适中 firm/偏硬",
                    "dimensions": "flat:40x60,40x80,50x70",
                    "machine_washable": "yes:0.5",
                    "weight": "480..1480/20",
                    "colour": "white/白色 cream/米白色 slate grey/石板灰",
                },
                ("fill_power", "firmness"),
            ),
            Kind(
                "throw blanket",
                "盖毯",
                25,
                189,
                {
                    "material": "wool/羊毛 cotton/棉 alpaca wool/羊驼毛 recycled polyester/再生涤纶",
                    "dimensions": "flat:130x170,140x200,150x200",
                    "machine_washable": "yes:0.6",
                    "weight": "620..1680/20",
                    "colour": FABRIC_COLOURS,
                },
                ("material", "colour"),
            ),
        ),
    ),
    Category(
        "Kitchen",
        "厨房用品",
        "Home",
        "家居",
        KITCHEN_BRANDS,
        (
            Kind(
                "saucepan",
                "汤锅",
                25,
                149,
                {
                    "capacity": "1.2..4.8/0.4",
                    "material": "stainless steel/不锈钢 cast iron/铸铁 aluminium/铝合金 copper/铜",
                    "heavy_weight": "0.8..3.4/0.1",
                    "dishwasher_safe": "yes:0.6",
                    "warranty": "24,60,120",
                    "colour": "silver/银色 black/黑色 deep blue/深蓝色 red/红色",
                },
                ("capacity", "material"),
            ),
            Kind(
                "kettle",
                "电热水壶",
                25,
                129,
                {
                    "capacity": "0.8..1.8/0.1",
                    "power": "1200,1800,2200,3000",
                    "material": "stainless steel/不锈钢 glass/玻璃 ceramic/陶瓷",
                    "heavy_weight": "0.9..1.8/0.1",
                    "warranty": "24",
                    "colour": "silver/银色 black/黑色 cream/米白色 sage green/鼠尾草绿",
                },
                ("capacity", "colour"),
            ),
            Kind(
                "coffee machine",
                "咖啡机",
                79,
                699,
                {
                    "capacity": "0.8..2.4/0.2",
                    "power": "900,1250,1450,1550",
                    "heavy_weight": "3.2..11.6/0.2",
                    "dimensions": "box:18-32,28-42,26-42",
                    "warranty": "24,24,36",
                    "colour": "silver/银色 black/黑色 cream/米白色 red/红色",
                },
            ),
            Kind(
                "chef's knife",
                "主厨刀",
                25,
                189,
                {
                    "blade_length": "16,18,20,24",
                    "material": "stainless steel/不锈钢 carbon steel/碳钢 Damascus steel/大马士革钢",
                    "weight": "140..260/5",
                    "dishwasher_safe": "yes:0.2",
                    "warranty": "24,60,120",
                    "colour": "black/黑色 walnut brown/胡桃木色",
                },
                ("blade_length", "material"),
            ),
        ),
    ),
    Category(
        "Lighting",
        "灯具",
        "Home",
        "家居",
        HOME_BRANDS,
        (
            Kind(
                "table lamp",
                "台灯",
                25,
                229,
                {
                    "brightness": "250,400,600,800",
                    "material": "brass/黄铜 ceramic/陶瓷 glass/玻璃 bamboo/竹",
                    "dimmable": "yes:0.5",
                    "cable_length": "1.5..2.4/0.1",
                    "heavy_weight": "0.8..3.2/0.1",
                    "warranty": "24",
                    "colour": HOME_COLOURS,
                },
                ("material", "colour"),
            ),
            Kind(
                "floor lamp",
                "落地灯",
                49,
                399,
                {
                    "brightness": "600,800,1200,1800",
                    "max_height": "130..185/5",
                    "material": "brass/黄铜 oak/橡木 steel/钢 linen/亚麻",
                    "dimmable": "yes:0.6",
                    "heavy_weight": "3.2..9.8/0.2",
                    "warranty": "24",
                    "colour": HOME_COLOURS,
                },
                ("material", "colour"),
            ),
        ),
    ),
    Category(
        "Garden",
        "园艺",
        "Garden and outdoors",
        "园艺户外",
        GARDEN_BRANDS,
        (
            Kind(
                "cordless hedge trimmer",
                "充电绿篱机",
                69,
                289,
                {
                    "run_time": "30..90/5",
                    "blade_length": "40,45,52,60",
                    "heavy_weight": "2.1..4.4/0.1",
                    "noise_level": "78..94/1",
                    "warranty": "24,36",
                    "colour": "green/绿色 orange/橙色 black/黑色",
                },
                ("blade_length", "colour"),
            ),
            Kind(
                "plant pot",
                "花盆",
                8,
                89,
                {
                    "material": "terracotta/陶土 ceramic/陶瓷 recycled plastic/再生塑料 fibre cement/纤维水泥",
                    "capacity": "2,5,10,20,35",
                    "heavy_weight": "0.4..7.6/0.2",
                    "colour": HOME_COLOURS,
                },
                ("material", "capacity", "colour"),
            ),
            Kind(
                "garden bench",
                "花园长椅",
                89,
                499,
                {
                    "seats": "2,3",
                    "material": "teak/柚木 acacia/金合欢木 steel/钢 eucalyptus/桉木",
                    "max_load": "220,250,300",
                    "heavy_weight": "11..28/1",
                    "warranty": "24,36,60",
                    "colour": HOME_COLOURS,
                },
                ("seats", "material"),
            ),
        ),
    ),
    Category(
        "Clothing",
        "服装",
        "Fashion",
        "时尚",
        FASHION_BRANDS,
        (
            Kind(
                "jacket",
                "夹克",
                49,
                349,
                {
                    "material": "cotton/棉 wool/羊毛 recycled nylon/再生尼龙 denim/牛仔布",
                    "fit": "regular/常规 relaxed/宽松 slim/修身",
                    "pockets": "2,3,4,6",
                    "waterproof": "yes:0.3",
                    "machine_washable": "yes:0.6",
                    "weight": "420..1180/20",
                    "colour": FABRIC_COLOURS,
                },
                ("material", "colour"),
            ),
            Kind(
                "jumper",
                "针织衫",
                29,
                199,
                {
                    "material": "merino wool/美利奴羊毛 cotton/棉 cashmere/羊绒 lambswool/羔羊毛",
                    "fit": "regular/常规 relaxed/宽松 slim/修身",
                    "machine_washable": "yes:0.5",
                    "weight": "240..640/10",
                    "colour": FABRIC_COLOURS,
                },
                ("material", "colour"),
                classifier="件",
            ),
            Kind(
                "trousers",
                "长裤",
                29,
                169,
                {
                    "material": "cotton/棉 linen/亚麻 blended wool/混纺羊毛 denim/牛仔布",
                    "fit": "regular/常规 relaxed/宽松 tapered/锥形 slim/修身",
                    "pockets": "2,4,5,6",
                    "machine_washable": "yes:0.8",
                    "weight": "320..680/10",
                    "colour": FABRIC_COLOURS,
                },
                ("material", "colour"),
                plural=True,
            ),
        ),
    ),
    Category(
        "Shoes",
        "鞋靴",
        "Fashion",
        "时尚",
        FASHION_BRANDS + " Runnara/润纳拉",
        (
            Kind(
                "trainers",
                "运动休闲鞋",
                39,
                189,
                {
                    "material": "canvas/帆布 leather/皮革 knitted mesh/针织网面 suede/绒面革",
                    "sole": "rubber/橡胶 foam/发泡材料",
                    "weight": "420..880/10",
                    "waterproof": "yes:0.2",
                    "colour": FABRIC_COLOURS,
                },
                ("material", "colour"),
                plural=True,
            ),
            Kind(
                "ankle boots",
                "短靴",
                69,
                289,
                {
                    "material": "leather/皮革 suede/绒面革 vegan leather/合成革",
                    "lining": "leather/皮革 textile/织物 wool/羊毛",
                    "sole": "rubber/橡胶 leather/皮革",
                    "waterproof": "yes:0.4",
                    "weight": "780..1480/20",
                    "colour": "black/黑色 chestnut/栗色 burgundy/酒红色 charcoal/炭灰色",
                },
                ("material", "colour"),
                plural=True,
            ),
        ),
    ),
    Category(
        "Bags",
        "箱包",
        "Fashion",
        "时尚",
        FASHION_BRANDS + " Trailwen/踏文",
        (
            Kind(
                "backpack",
                "双肩包",
                35,
                229,
                {
                    "capacity": "12..38/2",
                    "material": "canvas/帆布 recycled nylon/再生尼龙 leather/皮革",
                    "pockets": "3,4,6,8",
                    "waterproof": "yes:0.5",
                    "weight": "460..1480/20",
                    "warranty": "24,60",
                    "colour": FABRIC_COLOURS,
                },
                ("capacity", "colour"),
            ),
            Kind(
                "shoulder bag",
                "单肩包",
                35,
                329,
                {
                    "material": "leather/皮革 canvas/帆布 suede/绒面革 vegan leather/合成革",
                    "lining": "cotton/棉 textile/织物 suede/绒面革",
                    "pockets": "2,3,4",
                    "dimensions": "box:22-38,8-14,16-30",
                    "weight": "320..940/20",
                    "colour": FABRIC_COLOURS,
                },
                ("material", "colour"),
            ),
        ),
    ),
    Category(
        "Sports",
        "运动户外",
        "Sports",
        "运动",
        SPORT_BRANDS,
        (
            Kind(
                "yoga mat",
                "瑜伽垫",
                19,
                109,
                {
                    "thickness": "4,5,6,8",
                    "material": "natural rubber/天然橡胶 recycled rubber/再生橡胶 TPE/TPE",
                    "dimensions": "flat:61x173,61x183,66x183",
                    "heavy_weight": "0.9..2.8/0.1",
                    "colour": BRIGHT_COLOURS + " slate grey/石板灰 sage green/鼠尾草绿",
                },
                ("thickness", "colour"),
            ),
            Kind(
                "running shoes",
                "跑步鞋",
                59,
                219,
                {
                    "material": "knitted mesh/针织网面 recycled mesh/再生网面",
                    "sole": "foam/发泡材料 rubber/橡胶",
                    "weight": "380..620/10",
                    "waterproof": "yes:0.2",
                    "colour": BRIGHT_COLOURS + " black/黑色 white/白色",
                },
                plural=True,
            ),
            Kind(
                "tent",
                "帐篷",
                79,
                649,
                {
                    "sleeps": "2,3,4",
                    "material": "polyester/涤纶 nylon/尼龙 cotton canvas/棉帆布",
                    "heavy_weight": "1.4..7.8/0.2",
                    "waterproof": "yes:1",
                    "warranty": "24,36",
                    "colour": "olive/橄榄绿 orange/橙色 sand/沙色 deep blue/深蓝色",
                },
                ("colour",),
            ),
            Kind(
                "water bottle",
                "运动水壶",
                12,
                49,
                {
                    "capacity": "0.5,0.75,1.0",
                    "material": "stainless steel/不锈钢 Tritan/Tritan glass/玻璃",
                    "weight": "140..420/10",
                    "dishwasher_safe": "yes:0.7",
                    "colour": BRIGHT_COLOURS + " black/黑色",
                },
                ("capacity", "colour"),
            ),
        ),
    ),
    Category(
        "Beauty",
        "美妆护肤",
        "Beauty",
        "美妆",
        BEAUTY_BRANDS,
        (
            Kind(
                "face cream",
                "面霜",
                12,
                95,
                {
                    "volume": "30,40,50,75",
                    "skin_type": "dry skin/干性肌肤 normal skin/中性肌肤 sensitive skin/敏感肌肤 oily skin/油性肌肤",
                    "scent": "rose/玫瑰 aloe/芦荟 green tea/绿茶 chamomile/洋甘菊",
                    "vegan": "yes:0.6",
                },
                ("volume", "skin_type"),
                repeat=True,
            ),
            Kind(
                "shampoo",
                "洗发水",
                7,
                35,
                {
                    "volume": "200,250,300,400",
                    "scent": "lavender/薰衣草 mint/薄荷 citrus/柑橘 coconut/椰子",
                    "vegan": "yes:0.7",
                },
                ("scent", "volume"),
                repeat=True,
            ),
            Kind(
                "eau de parfum",
                "淡香精",
                29,
                149,
                {
                    "volume": "30,50,75,100",
                    "scent": "jasmine/茉莉 cedar/雪松 fig/无花果 bergamot/佛手柑 rose/玫瑰",
                    "vegan": "yes:0.5",
                },
                ("scent", "volume"),
                repeat=True,
            ),
        ),
    ),
    Category(
        "Toys",
        "玩具",
        "Toys",
        "玩具",
        TOY_BRANDS,
        (
            Kind(
                "building set",
                "积木套装",
                15,
                129,
                {
                    "pieces": "60..980/20",
                    "minimum_age": "3,4,6,8",
                    "material": "beech/榉木 plastic/塑料 recycled plastic/再生塑料",
                    "weight": "320..1980/20",
                    "colour": BRIGHT_COLOURS,
                },
                ("pieces",),
            ),
            Kind(
                "soft toy",
                "毛绒玩具",
                9,
                59,
                {
                    "material": "organic cotton/有机棉 plush/毛绒 wool/羊毛",
                    "minimum_age": "2,3",
                    "machine_washable": "yes:0.7",
                    "weight": "90..480/10",
                    "colour": BRIGHT_COLOURS + " cream/米白色 sand/沙色",
                },
            ),
            Kind(
                "jigsaw puzzle",
                "拼图",
                9,
                39,
                {
                    "pieces": "48,100,300,500,1000",
                    "minimum_age": "3,5,8,10",
                    "material": "recycled cardboard/再生纸板 beech/榉木",
                    "dimensions": "flat:30x40,42x60,50x70",
                },
                ("pieces",),
            ),
        ),
    ),
    Category(
        "Home robots",
        "家用机器人",
        "Electronics",
        "电子产品",
        PHONE_BRANDS,
        (
            Kind(
                "robot vacuum cleaner",
                "扫地机器人",
                179,
                899,
                {
                    "run_time": "80..240/10",
                    "noise_level": "52..70/1",
                    "capacity": "0.3,0.4,0.5",
                    "heavy_weight": "2.6..4.8/0.1",
                    "warranty": "24,36",
                    "colour": ELECTRONIC_COLOURS,
                },
            ),
        ),
    ),
)
"""Every category of the shop. The last one is the new category: its few products arrive in the last fortnight of the history."""

NEW_CATEGORY = "Home robots"

SERIES = (
    "Arc/弧光 Vale/山谷 Drift/漂流 Ember/余烬 Lark/云雀 Sol/暖阳 Tide/潮汐 Crest/峰顶 Linden/椴树 Mira/米拉 "
    "Nova/新星 Pine/青松 Quill/羽笔 Reed/芦苇 Slate/石板 Terra/大地 Umber/赭石 Wren/鹪鹩 Yarrow/蓍草 Zephyr/和风 "
    "Alder/桤木 Briar/荆棘 Cove/海湾 Dune/沙丘 Fable/寓言 Glen/幽谷 Haze/薄雾 Iris/鸢尾 Juniper/杜松 Kite/风筝 "
    "Lumen/流明 Moss/青苔 Nook/角落 Orchard/果园 Pebble/卵石 Rowan/花楸 Sable/黑貂 Thistle/蓟花 Veil/轻纱 Willow/垂柳"
)
WORK_FIRST = (
    "Silent/寂静的 Salt/咸涩的 Copper/铜色的 Distant/遥远的 Paper/纸做的 Hidden/隐藏的 Winter/冬日的 Crimson/绯红的 Last/最后的 Borrowed/借来的 "
    "Hollow/空旷的 Golden/金色的 "
    "Midnight/午夜的 Forgotten/被遗忘的 Glass/玻璃的 Northern/北方的 Quiet/安静的 Broken/破碎的 Blue/蓝色的 Wandering/漂泊的"
)
WORK_SECOND = (
    "Harbour/港湾 Orchard/果园 Lantern/灯笼 Letters/信笺 Bridge/桥 Garden/花园 River/河流 Voyage/远航 Mirror/镜子 Summer/夏天 "
    "Kingdom/王国 Clockmaker/钟表匠 Island/岛屿 Station/车站 Map/地图 Choir/合唱团 Forest/森林 Tower/高塔 Compass/罗盘 Market/集市"
)
HANDBOOKS = (
    "A Year of {}/一年四季学{} First Steps in {}/{}入门第一步 The Weekend Book of {}/周末学{} Fifty Lessons in {}/{}五十课 "
    "Notes on {}/{}手记 A Pocket Guide to {}/{}口袋指南"
)
PEOPLE = (
    "Ada Wrenfield/艾达·雷恩菲尔德 Tomas Eldrake/托马斯·埃尔德雷克 Lin Qiaoyue/林乔月 Petra Sandoval-Reyk/佩特拉·桑多瓦尔 "
    "Noor Hartigale/努尔·哈蒂盖尔 "
    "Zhou Mingche/周明澈 Ilse Brandvoort/伊尔莎·布兰德沃特 Hugo Pellmarsh/雨果·佩尔马什 Mei Songzhi/梅松之 Rafael Ostermoor/拉斐尔·奥斯特莫尔 "
    "Freya Lindqvale/芙蕾雅·林德维尔 Chen Yusheng/陈屿笙 Amara Tilbrook/阿玛拉·蒂尔布鲁克 Jonas Wickstrand/约纳斯·维克斯特兰"
)


def pairs(words: str) -> list[tuple[str, str]]:
    """`midnight blue/午夜蓝 black/黑色` as [("midnight blue", "午夜蓝"), ("black", "黑色")]: an English name may hold spaces, a Chinese one not."""
    found, english = [], ""
    for part in words.split(" "):
        left, slash, right = part.partition("/")
        english = f"{english} {left}".strip()
        if slash:
            found.append((english, right))
            english = ""
    return found
