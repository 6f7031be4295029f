#include "trainer/evaluation/recall_task.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "data/io/utf8.h"
#include "kernels/runtime/status.h"
#include "trainer/evaluation/recall_sample.h"

namespace wyvern {
namespace {

struct NamedKind {
  const char* name;
  RecallKind kind;
  int64_t answer_tokens;  // that a model may write
};
constexpr NamedKind kKinds[] = {{"niah_single_1", RecallKind::kSingle1, 128},
                                {"niah_single_2", RecallKind::kSingle2, 128},
                                {"niah_single_3", RecallKind::kSingle3, 128},
                                {"niah_multikey_1", RecallKind::kMultiKey1, 128},
                                {"niah_multikey_2", RecallKind::kMultiKey2, 128},
                                {"niah_multikey_3", RecallKind::kMultiKey3, 128},
                                {"vt", RecallKind::kVariables, 30}};

const NamedKind& Of(RecallKind kind) {
  return *std::find_if(std::begin(kKinds), std::end(kKinds),
                       [&](const NamedKind& named) { return named.kind == kind; });
}

// The example of variable tracking has so many tokens, or half of the prompt's.
constexpr int64_t kExampleTokens = 500;

class Maker {
 public:
  Maker(const RecallTaskOptions& options, const Tokenizer& tokenizer)
      : options_(options), tokenizer_(tokenizer) {
    haystack_.words =
        absl::StrSplit(options.essay, absl::ByAnyChar(" \t\n\r\f\v"), absl::SkipEmpty());
  }

  absl::StatusOr<std::string> Documents() {
    const int64_t room = options_.tokens - Of(options_.kind).answer_tokens;
    if (Utf8PrefixLength(options_.essay) < options_.essay.size()) {
      return absl::InvalidArgumentError(absl::StrCat("the text for ", Name(options_.kind),
                                                     " is not UTF-8, or holds a zero byte"));
    }
    if (NeedsEssay(options_.kind) && haystack_.words.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          Name(options_.kind), " hides needles in an essay; give a text of words for it"));
    }
    if (options_.kind == RecallKind::kVariables) {
      const int64_t tokens = std::min(kExampleTokens, room / 2);
      example_size_ = Largest(
          [&](int64_t size) { return Count(VariableExample(options_.seed, 0, size)) <= tokens; });
    }
    const auto fits = [&](const RecallSample& sample) {
      return Count(absl::StrCat(sample.input, " ", sample.prefix)) <= room;
    };
    const int64_t size = Largest([&](int64_t units) { return fits(Sample(0, units)); });
    std::string lines;
    for (int64_t i = 0; i < options_.samples; ++i) {
      // Samples differ by a few tokens.
      int64_t used = size;
      RecallSample sample = Sample(i, std::max<int64_t>(used, 1));
      while (used > 0 && !fits(sample)) {
        used -= std::max<int64_t>(1, used / 100);
        sample = Sample(i, std::max<int64_t>(used, 1));
      }
      if (used == 0) {
        return absl::InvalidArgumentError(absl::StrCat(
            options_.tokens, " tokens are too few for a question of ", Name(options_.kind), " and ",
            Of(options_.kind).answer_tokens, " tokens of an answer; take more"));
      }
      Append(i, sample, &lines);
    }
    return lines;
  }

 private:
  RecallSample Sample(int64_t number, int64_t size) const {
    return options_.kind == RecallKind::kVariables
               ? VariableSample(options_.seed, number, size, std::max<int64_t>(example_size_, 1))
               : NeedleSample(options_.kind, options_.seed, number, size, haystack_);
  }
  int64_t Count(const std::string& text) const {
    return static_cast<int64_t>(tokenizer_.Encode(text).size());
  }

  // The largest size for which `fits` holds, which it does up to some size; 0: none. A unit has a
  // token at least, unless the tokenizer leaves its text out.
  int64_t Largest(const std::function<bool(int64_t)>& fits) const {
    int64_t good = 0, bad = 1;
    while (bad <= 2 * options_.tokens && fits(bad)) {
      good = bad;
      bad *= 2;
    }
    while (bad - good > 1) {
      const int64_t middle = good + (bad - good) / 2;
      (fits(middle) ? good : bad) = middle;
    }
    return good;
  }

  void Append(int64_t number, const RecallSample& sample, std::string* lines) const {
    nlohmann::ordered_json document;
    document["index"] = number;
    document["input"] = sample.input;
    document["gen_prefix"] = sample.prefix;
    document["outputs"] = sample.outputs;
    document["length"] = Count(absl::StrCat(sample.input, " ", sample.prefix));
    document["max_length"] = options_.tokens;
    absl::StrAppend(lines, document.dump(), "\n");
  }

  const RecallTaskOptions& options_;
  const Tokenizer& tokenizer_;
  Haystack haystack_;
  int64_t example_size_ = 0;
};

}  // namespace

const char* Name(RecallKind kind) { return Of(kind).name; }

std::vector<std::string> RecallKindNames() {
  std::vector<std::string> names;
  for (const NamedKind& named : kKinds) names.emplace_back(named.name);
  return names;
}

absl::StatusOr<RecallKind> FindRecallKind(const std::string& name) {
  for (const NamedKind& named : kKinds) {
    if (name == named.name) return named.kind;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "expected one of ", absl::StrJoin(RecallKindNames(), ", "), ", got '", name, "'"));
}

bool NeedsEssay(RecallKind kind) {
  return kind == RecallKind::kSingle2 || kind == RecallKind::kSingle3 ||
         kind == RecallKind::kMultiKey1;
}

absl::StatusOr<RecallTask> MakeRecallTask(const RecallTaskOptions& options,
                                          const Tokenizer& tokenizer) {
  RecallTask task;
  task.name = absl::StrCat(Name(options.kind), "_", options.tokens);
  ASSIGN_OR_RETURN(task.documents, Maker(options, tokenizer).Documents());
  const bool has_several = options.kind == RecallKind::kVariables;
  task.yaml = absl::StrCat(
      "task: ", task.name, "\ndataset_path: json\ndataset_kwargs: {data_files: {test: ", task.name,
      ".jsonl}}\ntest_split: test\noutput_type: generate_until\ndoc_to_text: \"{{input}}\"\n",
      "gen_prefix: \"{{gen_prefix}}\"\ndoc_to_target: \"",
      has_several ? "{{outputs|join(' ')}}" : "{{outputs[0]}}",
      "\"\ngeneration_kwargs: {until: [], max_gen_toks: ", Of(options.kind).answer_tokens,
      ", do_sample: false}\nmetric_list: [{metric: ", has_several ? "word_recall" : "contains",
      ", aggregation: mean, higher_is_better: true}]\nmetadata: {version: 1.0}\n");
  return task;
}

}  // namespace wyvern
