#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "trainer/evaluation/recall_draws.h"
#include "trainer/evaluation/recall_sample.h"

namespace wyvern {
namespace {

constexpr char kNoise[] =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";
// Depths of an essay at which a needle may lie: 0 to 100%, evenly spaced.
constexpr int64_t kDepths = 40;

struct NeedleForm {
  enum class Hay { kNoise, kEssay, kNeedles };
  Hay hay;
  bool keys_are_uuids, values_are_uuids;
  int64_t num_keys;
};

NeedleForm FormOf(RecallKind kind) {
  using Hay = NeedleForm::Hay;
  switch (kind) {
    case RecallKind::kSingle2:
      return {Hay::kEssay, false, false, 1};
    case RecallKind::kSingle3:
      return {Hay::kEssay, false, true, 1};
    case RecallKind::kMultiKey1:
      return {Hay::kEssay, false, false, 4};
    case RecallKind::kMultiKey2:
      return {Hay::kNeedles, false, false, 1};
    case RecallKind::kMultiKey3:
      return {Hay::kNeedles, true, true, 1};
    default:
      return {Hay::kNoise, false, false, 1};
  }
}

// Draws needles whose keys no other needle has.
class Needles {
 public:
  Needles(const NeedleForm& form, RecallDraws draws) : form_(form), draws_(draws) {}

  struct Needle {
    std::string key, value, sentence;
  };
  Needle Next() {
    Needle needle;
    do {
      needle.key = form_.keys_are_uuids ? draws_.Uuid() : draws_.Word();
    } while (reserved_.count(needle.key) > 0);
    needle.value = form_.values_are_uuids ? draws_.Uuid() : draws_.Number();
    needle.sentence =
        absl::StrCat("One of the special magic ", form_.values_are_uuids ? "uuids" : "numbers",
                     " for ", needle.key, " is: ", needle.value, ".");
    return needle;
  }
  void Reserve(const std::string& key) { reserved_.insert(key); }

 private:
  const NeedleForm& form_;
  RecallDraws draws_;
  std::set<std::string> reserved_;
};

// Whether a sentence ends with the word.
bool EndsSentence(const std::string& word) {
  const size_t last = word.find_last_not_of("\"')]}");
  return last != std::string::npos && (word[last] == '.' || word[last] == '!' || word[last] == '?');
}

std::string EssayWith(const std::vector<std::string>& needles, int64_t size,
                      const Haystack& haystack, RecallDraws draws) {
  std::vector<std::string> sentences;
  std::string sentence;
  for (int64_t i = 0; i < size; ++i) {
    const std::string& word = haystack.words[static_cast<size_t>(i) % haystack.words.size()];
    absl::StrAppend(&sentence, sentence.empty() ? "" : " ", word);
    if (!EndsSentence(word) && i + 1 < size) continue;
    sentences.push_back(std::exchange(sentence, ""));
  }
  std::vector<int64_t> places;
  for (const int64_t depth : draws.Distinct(static_cast<int64_t>(needles.size()), kDepths)) {
    places.push_back(static_cast<int64_t>(sentences.size()) * depth / (kDepths - 1));
  }
  // From the back, so that the places before stay.
  for (size_t i = places.size(); i-- > 0;) {
    sentences.insert(sentences.begin() + places[i], needles[i]);
  }
  return absl::StrJoin(sentences, " ");
}

}  // namespace

RecallSample NeedleSample(RecallKind kind, uint64_t seed, int64_t number, int64_t size,
                          const Haystack& haystack) {
  const NeedleForm form = FormOf(kind);
  Needles needles(form, RecallDraws(seed, "needles", number));
  std::vector<Needles::Needle> asked;
  std::vector<std::string> sentences;
  for (int64_t i = 0; i < form.num_keys; ++i) {
    asked.push_back(needles.Next());
    needles.Reserve(asked.back().key);
    sentences.push_back(asked.back().sentence);
  }
  RecallDraws choice(seed, "question", number), places(seed, "places", number);
  const Needles::Needle& answer = asked[static_cast<size_t>(choice.Below(form.num_keys))];
  std::string context;
  if (form.hay == NeedleForm::Hay::kEssay) {
    context = EssayWith(sentences, size, haystack, places);
  } else {
    std::vector<std::string> hay;
    for (int64_t i = 0; i < size; ++i) {
      hay.push_back(form.hay == NeedleForm::Hay::kNoise ? kNoise : needles.Next().sentence);
    }
    hay.insert(hay.begin() + places.Below(size + 1), sentences[0]);
    context = absl::StrJoin(hay, "\n");
  }
  const char* const type = form.values_are_uuids ? "uuid" : "number";
  return {.input = absl::StrCat(
              "A special magic ", type,
              " is hidden within the following text. Make sure to memorize it. I will quiz you "
              "about the ",
              type, " afterwards.\n", context, "\nWhat is the special magic ", type, " for ",
              answer.key, " mentioned in the provided text?"),
          .prefix = absl::StrCat("The special magic ", type, " for ", answer.key,
                                 " mentioned in the provided text is"),
          .outputs = {answer.value}};
}

}  // namespace wyvern
