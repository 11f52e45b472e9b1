"""The ordinary words that an enriched title may use without finding them in the product's own text.

A model sees the picture, so it may say "short sleeves" or "floral" where the shop says neither. What is no listed word,
no listed noun's plural, and not in the sources, counts as a name: an invented brand can be any word, in any case, in
any alphabet. Left out on purpose: praise, calls to buy, sizes, numbers, and words that brands are made of (royal,
urban, star, north, fresh, original …).
"""

from __future__ import annotations

from moon2.augment.text.entity_words import COLOURS, GENDER_OF, MATERIALS, PATTERNS, STYLES, phrase_set, word_set

FUNCTION_WORDS = word_set("""
    a an the and or with without for of in on to from by at as into onto over under up per via & + featuring has
    having including plus that which is are its this that's while both either
""")
"""They hold a title together; none may end it or stand before a comma."""

_DESCRIPTIVE = word_set("""
    absorbent absorbing adjustable aerodynamic airy analog analogue angled angular ankle-length anti-slip antique
    applique appliqued arched asymmetric asymmetrical attached automatic backless backlit baking barrel-shaped be
    beaded bedside bell-sleeve bendable bifold blended bonding braided branched branding breathable bright broad
    brushed buckled button-down button-front button-up buttoned calf-length calibrated can capped carrying carved
    cast charging chilled chopped chunky circular cleaning clear closed closing coated coiled collapsible collared
    collarless colored colorful coloured colourful combed comes comfortable comfy compact concealed conical contrast
    contrasting convertible cooking cordless cosy cotton-blend covered cozy crew-neck crewneck crinkled crisp
    crochet crocheted cropped cross-body crossbody cuffed curved cushioned cushioning cut-out cutout cutting
    cylindrical daily dark decorated decorative deep delicate dense designed detachable detailed detailing diagonal
    digital dimmable dining dishwasher-safe distressed dotted double-breasted double-sided draped drilling drinking
    drop-shoulder durable easy-care elastic elasticated electric elegant elongated enamelled encrusted engraved
    ergonomic etched everyday extendable faded fastened fastening feminine fine finely finished firm fits flat
    flat-front fleece-lined flexible flip-open flowing flowy fluffy foiled foldable folding forged four-legged
    framed frameless freestanding frilled fringed front full-length full-sleeve full-zip fuzzy gaming gardening
    gathered glazed glittery glossy gradient grained grilling grooved half-sleeve hand-painted handcrafted handheld
    handmade hanging hardwearing heart-shaped heat-resistant heavyweight heeled high-cut high-neck high-rise
    high-top high-waisted hiking hinged holding hollow hooded horizontal household hypoallergenic illuminated indoor
    inflatable inlaid inner inside insulated interlocking intricate inverted jewelled jogging keyless kitchen
    knee-length knitted knotted lace lace-up laced lacing laminated layered leakproof lidded light lightweight lined
    lining little lockable long long-sleeve long-sleeved looped loose lounging low-cut low-heeled low-rise low-top
    machine-washable made magnetic manual masculine matching matt matte melange mesh metallic mid-rise
    moisture-wicking molded monochrome moulded mounted multi-pocket multi-purpose narrow natural nautical neutral
    non-slip non-stick oblong octagonal off-shoulder one-shoulder opaque open open-toe organic ornamental outdoor
    outer oval oven-safe oversized padded padding painted pale panelled pastel pastel-coloured patterned peaked
    pearly peep-toe perforated piping pivoting plain pleated plush pocket-sized pointed polished polo portable
    pouring practical pre-washed press-stud printing protective puffed pull-on quick-dry raised reading rear
    rechargeable reclining rectangular reflective reinforced relaxed removable resistant retractable reusable
    reversible ribbon-tied ridged rigid ripped rippled roll-up rolled rotating rough round rounded rubberised
    rubberized ruched ruffled running scalloped scented scoop-neck scooped scratch-resistant sculpted seamed
    seamless seating see-through self-tie semi-transparent sequinned serving sewing shallow shaped shatterproof
    sheer shiny shock-absorbing short short-sleeve short-sleeved side simple single-breasted single-sided sits
    sitting sized slatted sleek sleeping sleeved sleeveless slender slicing slim-fit slip-on slip-resistant slouchy
    smooth snap-button soaking soft spacious sparkling speckled spherical splash-proof splash-resistant sporting
    spotted square square-neck stackable stacked stain-resistant stainless stand-up standing steel-toed stitched
    stitching storing straight strapless strappy stretchable stretchy structured studded sturdy styled styling
    stylish subtle sueded suitable sun-protective swimming tall tapered tapering tasselled thermal thick thin
    three-quarter tied tight tilting timeless tinted tipped tonal toned top-handle topstitched training translucent
    travelling triangular trifold trim trimmed tufted turn-up turned turtleneck two-tone unbreakable understated
    unlined upholstered upright used v-neck vented ventilated versatile vertical vibrant visible vivid walking
    wall-mounted warm washable water-repellent water-resistant waterproof wavy wearable weather-resistant
    weatherproof webbed weighted welted wide wind-up windproof wired wireless wireless-charging woollen working worn
    woven wrapped wrinkle-free writing zigzag zip-up zipped zippered
""")
NOUNS = word_set("""
    absorption accent accessory adapter ankle aperture apron arch arm armchair armrest aroma art ashtray autumn baby
    back backpack backrest badge bag balcony ball band bangle base basin basket bath bathroom battery beach bead
    beanie bed bedding bedroom belt bench bezel bib bike binding blade blanket blazer blender blouse board bobbin
    body bonnet book bookcase boot bootie border bottle bottom bow bowl box bra bracelet bracket branch brief
    briefcase briefs brim bristle broom brush bucket buckle bulb button cabinet cable caddy calf candle candlestick
    canopy cap cape capri carafe cardigan care cargo carpet case casing caster chain chair charger check chest child
    chin chino chisel choker chopstick chronograph clasp cleaner clip clock closure cloth clothing clutch coaster
    coat coil colander collar color colour comb comfort compartment component console container cooker cord
    corkscrew corner corset cosmetics cot counter cover cradle crate crayon cream crew crib cuff cup cupboard
    cupcake curtain cushion cushioning cut cutlery cycling dashboard day daylight decanter decor decoration desk
    detail dial diameter diaper diary diffuser dining dinner dish dishwasher dispenser display divider doll door
    doorbell doormat dowel drawer drawstring dress dresser drink drip dropper drum duffel dungaree dusk duvet ear
    earbud earphone earring edge elbow embellishment embroidery engine eraser espresso evening eye eyelet eyeliner
    eyeshadow fabric face fan fastening faucet feature feet fence fender festival fibre filling film filter finger
    finish fireplace fit flame flannel flap flask flats fleece flip-flop floor flooring flower foil folder foliage
    foot footbed footwear forefoot fork fountain frame fridge frill fringe fur furniture game garden garment girl
    glass glaze gloss glove goggle gown grain grater grid grill grip groove grooves guitar gusset hair hairband
    hairbrush hammer hamper hand handbag handkerchief handle handlebar hanger harness hat head headboard headphone
    headset hearth heater heel helmet hem hemline high-heel highchair hinge hip holder home hood hoodie hoof hook
    hoop hose hotplate house incense inseam insert insole interior jacket jar jaw jean jewel jewellery jewelry jog
    joint journal jug jumper jumpsuit kettle key keyboard keychain keypad keyring kitchen knee kneepad knife knob
    knot kurta label lace ladder ladle lamp lampshade lantern lapel laptop latch lattice lawn layer leash leg
    legging leggings length lens lever lid light line lipgloss lipstick living loafer lock log loop lotion luggage
    lunch machine magnet mandarin mantel marker mascara masher mask mat mattress meal microphone microwave midsole
    mirror mitten mixer moccasin mold monitor mop motif mould mount mouse movement mug nail napkin neck necklace
    neckline nib nightdress nightstand nightwear notebook nozzle oar occasion office oil opening ottoman outfit
    outlet outsole oven overcoat overlay pacifier pad paddle paint pair palette pallet palm pan panel panelling pant
    pants parasol park parka part pastry patch pattern paw peak pearl pebble pedal pedestal peg pen pencil pendant
    perforation perfume petal phone photo piano picture piece pillow pillowcase pin pipe piping pitch pitcher
    placket plant planter plate platform pleat plier plug plush pocket pocketknife polo poncho portion pot pouch
    pouf powder print projector protection puff pulley pullover pump purse puzzle pyjama quarter quilt rack radio
    raglan rail rain rake ramp razor rear recliner reel refill remote rhinestone ribbing rim ring ripple rivet robe
    rocker rod roll roller romper room rope rosette router row rucksack ruffle rug ruler running saddle sandal
    sander saree satchel sauce saucepan saucer saw scale scarf scent school scissor scoop scooter screen screw
    screwdriver seal sealing seam seat sequin serum set sewing shade shaker shampoo shape sharpener shaver shawl
    sheath sheet shelf shelving shirt shoe short shorts shoulder shovel shower side sideboard sieve silhouette sink
    skateboard skillet skin skirt sled sleeping sleepwear sleeve slide slider slipper slit slot snap sneaker soap
    sock sofa soil sole spade spatula speaker spectacle spike spindle spine spiral spool spoon sport spout spray
    spring squeegee stair stand stapler stem stencil step stick stitch stitching stocking stone stool storage
    strainer strap straps streamer string strip stripe stroller stud style suction suit suitcase summer sunglass
    sunglasses sunscreen support surface surfboard sweater sweatshirt swimsuit swimwear swing switch sword t-shirt
    tab table tablecloth tablet tail tank tap tape tassel tea tee tent terrace texture thermos thermostat thong
    thread threshold throw thumb tie tights tile timer tin tip tire tissue toaster toddler toe tong tongue tool
    toothbrush top torch torque tote towel tower toy track tracksuit traction trainer tray treadmill trim tripod
    trolley trouser trousers trunk tub tube tubing tunic tweezer twist tyre umbrella underwear upper urn use utensil
    vacuum valve vase velcro velvet vent ventilation vest view visor waffle waist waistband waistcoat wall wallet
    wallpaper wardrobe warmer warmth wash washbasin watch water wear weave webbing wedge weekend welt wheel window
    wing winter wire wiring wok woman woodwork wool work workout wrap wrench wrist wristband yarn yoga yoke zip
    zipper
""")
"""Listed nouns, whose plurals are ordinary too."""
_ASIAN = word_set("""
    的 和 与 带 款 色 新款 短袖 长袖 无袖 圆领 翻领 立领 高领 连帽 上衣 衬衫 裤子
    长裤 短裤 裙子 连衣裙 半身裙 外套 夹克 毛衣 卫衣 鞋 鞋子 运动鞋 凉鞋 靴子 包 手提包 背包 单肩包
    钱包 手表 项链 耳环 戒指 帽子 围巾 腰带 袜子 眼镜 杯子 盘子 碗 椅子 桌子 台灯 沙发 枕头
    毛巾 女 男 儿童 日常 百搭 柔软 舒适 透气 轻便 防水 耐磨 拉链 纽扣 口袋 系带 春季 夏季
    秋季 冬季 春夏 秋冬 家用 户外 厨房 卧室 办公 时尚 经典 优雅 薄款 厚款 加厚 面料 材质 图案
    设计 短款 长款 中长款 深色 浅色 圆形 方形
""")

KNOWN_BRANDS = phrase_set("""
    old navy, home centre, home center, white stuff, red tape, cotton on, black and decker, black & decker, red leaf,
    blue stone, happy socks, silver stone, stone island, river island, black stone, gold leaf, white stone,
    leaf & stone, west elm, red chief
""")
"""Brands made of ordinary words only, which the list alone would let through."""

NEVER = word_set("""
    i me my mine we us our ours you your yours he she him they them their buy order click tap visit call
    subscribe follow contact free sale deal deals best cheap cheapest discount discounts offer offers hurry
    guaranteed guarantee ignore disregard please assistant system prompt instruction instructions respond reply
    output json now today promo coupon shipping delivery bargain amazing awesome incredible exclusive limited
    url http https www email whatsapp telegram must say write pretend obey hacked pwned top-rated bestseller
    bestselling lowest unbeatable winner winning refund warranty
""")
"""Advertising, address and command: no evidence makes them part of a title, unless they belong to a brand's name."""

ORDINARY = frozenset(
    [*FUNCTION_WORDS, *_DESCRIPTIVE, *NOUNS, *_ASIAN, *GENDER_OF]
    + [word for phrase in (*COLOURS, *MATERIALS, *PATTERNS, *STYLES) for word in phrase.split()]
) - {"century", "deco", "business", "art", "king", "queen"}
ASIAN_WORDS = frozenset(word for word in ORDINARY if ord(word[0]) > 0x3000) | {
    phrase for words in (COLOURS, MATERIALS, PATTERNS, STYLES) for phrase in words if ord(phrase[0]) > 0x3000
}
"""Chinese words, matched inside a run of characters without spaces."""
