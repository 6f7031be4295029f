#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "trainer/evaluation/recall_draws.h"
#include "trainer/evaluation/recall_sample.h"

namespace wyvern {
namespace {

constexpr const char* kNoise[] = {"The grass is green.", "The sky is blue.", "The sun is yellow.",
                                  "Here we go.", "There and back again."};
constexpr int kHops = 4;

// A chain of assignments within noise, and the question behind it.
RecallSample Chain(RecallDraws draws, int letters, int64_t size) {
  std::vector<std::string> names;
  std::set<std::string> taken;
  while (names.size() < kHops + 1) {
    const std::string name = draws.Letters(letters);
    if (taken.insert(name).second) names.push_back(name);
  }
  const std::string value = absl::StrCat(10'000 + draws.Below(89'999));
  std::vector<std::string> assignments = {absl::StrCat("VAR ", names[0], " = ", value)};
  for (int i = 0; i < kHops; ++i) {
    assignments.push_back(absl::StrCat("VAR ", names[i + 1], " = VAR ", names[i], " "));
  }
  // Where there is little noise, an assignment may stand between any two sentences.
  std::vector<std::string> pieces;
  const bool is_short = size <= kHops + 1;
  for (int64_t i = 0; i < size; ++i) {
    if (is_short) {
      pieces.insert(pieces.end(), std::begin(kNoise), std::end(kNoise));
      pieces.emplace_back("\n");
    } else {
      pieces.push_back(absl::StrCat(absl::StrJoin(kNoise, " "), "\n"));
    }
  }
  const std::vector<int64_t> places =
      draws.Distinct(kHops + 1, static_cast<int64_t>(pieces.size()));
  for (size_t i = places.size(); i-- > 0;) {
    pieces.insert(pieces.begin() + places[i], assignments[i]);
  }
  const std::string context = absl::StrReplaceAll(absl::StrJoin(pieces, " "), {{". \n", ".\n"}});
  // RULER's prompt is misspelt, and scores are compared with those of its prompt.
  return {.input = absl::StrCat(
              "Memorize and track the chain(s) of variable assignment hidden in the following "
              "text.\n\n",
              context, "\nQuestion: Find all variables that are assigned the value ", value,
              " in the text above."),
          .prefix = absl::StrCat(
              "Answer: According to the chain(s) of variable assignment in the text above, ",
              kHops + 1, " variables are assgined the value ", value, ", they are:"),
          .outputs = std::move(names)};
}

}  // namespace

std::string VariableExample(uint64_t seed, int64_t number, int64_t size) {
  const RecallSample example = Chain(RecallDraws(seed, "example", number), /*letters=*/3, size);
  return absl::StrCat(example.input, " ", example.prefix, " ", absl::StrJoin(example.outputs, " "),
                      "\n\n\n\n");
}

RecallSample VariableSample(uint64_t seed, int64_t number, int64_t size, int64_t example_size) {
  RecallSample sample = Chain(RecallDraws(seed, "variables", number), /*letters=*/5, size);
  sample.input.insert(0, VariableExample(seed, number, example_size));
  return sample;
}

}  // namespace wyvern
