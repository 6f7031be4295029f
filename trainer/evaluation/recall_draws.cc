#include "trainer/evaluation/recall_draws.h"

#include <iterator>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/runtime/check.h"

namespace wyvern {
namespace {

// Draws of one sample; the next one's begin behind them.
constexpr uint64_t kDrawsOfSample = uint64_t{1} << 32;

constexpr const char* kAdjectives[] = {
    "able",   "ancient", "angry",   "bitter", "blank",    "bold",   "brave",   "brief",  "bright",
    "broad",  "broken",  "busy",    "calm",   "careful",  "cheap",  "clean",   "clear",  "clever",
    "cold",   "common",  "cool",    "crisp",  "curious",  "curved", "damp",    "dark",   "deep",
    "dense",  "distant", "dry",     "dull",   "eager",    "early",  "easy",    "empty",  "equal",
    "exact",  "faint",   "fair",    "famous", "fast",     "fierce", "fine",    "firm",   "flat",
    "fresh",  "full",    "gentle",  "glad",   "golden",   "good",   "grand",   "gray",   "great",
    "green",  "happy",   "hard",    "heavy",  "hidden",   "high",   "hollow",  "honest", "huge",
    "humble", "icy",     "idle",    "jolly",  "keen",     "kind",   "large",   "late",   "lazy",
    "light",  "little",  "lively",  "lonely", "long",     "loose",  "loud",    "loyal",  "lucky",
    "mellow", "mild",    "modern",  "narrow", "neat",     "new",    "noble",   "odd",    "old",
    "open",   "pale",    "patient", "plain",  "polite",   "proud",  "pure",    "quick",  "quiet",
    "rapid",  "rare",    "ready",   "rich",   "ripe",     "rough",  "round",   "royal",  "safe",
    "secret", "shallow", "sharp",   "short",  "shy",      "silent", "silver",  "simple", "slow",
    "small",  "smooth",  "soft",    "solid",  "steady",   "steep",  "strange", "strict", "strong",
    "subtle", "sudden",  "sunny",   "sweet",  "swift",    "tall",   "tame",    "tender", "thick",
    "thin",   "tidy",    "tiny",    "tough",  "tranquil", "true",   "useful",  "vast",   "vivid",
    "warm",   "weak",    "wet",     "wide",   "wild",     "wise",   "young",   "zealous"};

constexpr const char* kNouns[] = {
    "acorn",   "anchor",   "apple",    "arrow",  "autumn",  "badge",   "bakery",  "balcony",
    "bamboo",  "banner",   "barrel",   "basket", "beach",   "beacon",  "bell",    "bench",
    "berry",   "blanket",  "blossom",  "boat",   "book",    "bottle",  "branch",  "brick",
    "bridge",  "brook",    "bucket",   "button", "cabin",   "camel",   "candle",  "canvas",
    "canyon",  "carpet",   "castle",   "cave",   "cedar",   "chair",   "cherry",  "circle",
    "cliff",   "clock",    "cloud",    "coast",  "coin",    "comet",   "compass", "copper",
    "coral",   "corner",   "cotton",   "cradle", "crane",   "crown",   "crystal", "curtain",
    "desert",  "diamond",  "dolphin",  "dragon", "drum",    "eagle",   "elbow",   "engine",
    "falcon",  "feather",  "fence",    "ferry",  "field",   "flame",   "flute",   "forest",
    "fossil",  "fountain", "fox",      "garden", "gate",    "glacier", "glove",   "goblet",
    "grain",   "grove",    "guitar",   "hammer", "harbor",  "harp",    "hazel",   "hill",
    "honey",   "horizon",  "horse",    "island", "ivory",   "jacket",  "jungle",  "kettle",
    "kite",    "ladder",   "lagoon",   "lamp",   "lantern", "leaf",    "lemon",   "library",
    "lily",    "lion",     "magnet",   "maple",  "marble",  "market",  "meadow",  "melon",
    "mirror",  "moon",     "mountain", "museum", "needle",  "nest",    "oak",     "ocean",
    "olive",   "orchard",  "otter",    "palace", "paper",   "pebble",  "pencil",  "pepper",
    "piano",   "pillow",   "pine",     "planet", "plum",    "pocket",  "pond",    "prairie",
    "quarry",  "rabbit",   "rain",     "raven",  "ribbon",  "river",   "robin",   "rocket",
    "rope",    "saddle",   "sail",     "sand",   "seed",    "shadow",  "shell",   "shore",
    "silk",    "slope",    "snow",     "spark",  "spider",  "spoon",   "spring",  "stable",
    "star",    "statue",   "stone",    "storm",  "summit",  "swan",    "table",   "temple",
    "thunder", "tiger",    "timber",   "tower",  "trail",   "tulip",   "tunnel",  "turtle",
    "valley",  "velvet",   "village",  "violin", "wagon",   "walnut",  "water",   "wheel",
    "willow",  "window",   "winter",   "wolf",   "wool",    "yarn",    "zebra",   "zephyr"};

}  // namespace

int64_t RecallDraws::Below(int64_t bound) {
  CHECK(bound > 0 && next_ < kDrawsOfSample, "bound ", bound, " of draw ", next_);
  return static_cast<int64_t>(
      random_.Below(sample_ * kDrawsOfSample + next_++, static_cast<uint64_t>(bound)));
}

std::string RecallDraws::Word() {
  const char* const adjective = kAdjectives[Below(std::size(kAdjectives))];
  return absl::StrCat(adjective, "-", kNouns[Below(std::size(kNouns))]);
}

std::string RecallDraws::Number() { return absl::StrCat(1'000'000 + Below(9'000'000)); }

std::string RecallDraws::Uuid() {
  // The version and the variant have bits of their own (RFC 9562).
  const int64_t a = Below(int64_t{1} << 32), b = Below(1 << 16), c = Below(1 << 12),
                d = Below(1 << 14), e = Below(int64_t{1} << 48);
  return absl::StrFormat("%08x-%04x-4%03x-%04x-%012x", a, b, c, 0x8000 + d, e);
}

std::string RecallDraws::Letters(int count) {
  std::string letters;
  for (int i = 0; i < count; ++i) letters.push_back(static_cast<char>('A' + Below(26)));
  return letters;
}

std::vector<int64_t> RecallDraws::Distinct(int64_t count, int64_t bound) {
  CHECK(count <= bound, count, " distinct numbers below ", bound);
  std::set<int64_t> drawn;
  while (static_cast<int64_t>(drawn.size()) < count) drawn.insert(Below(bound));
  return {drawn.begin(), drawn.end()};
}

}  // namespace wyvern
