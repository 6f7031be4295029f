#include "trainer/config/reference.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "data/io/file.h"
#include "layers/mixers/delta/delta_config.h"
#include "trainer/config/fields.h"

namespace wyvern {
namespace {

// Sets the number at one key, in whatever part of the configuration that is.
class NumberSetter : public ConfigVisitor {
 public:
  NumberSetter(std::string prefix, const std::string& key, double number)
      : prefix_(std::move(prefix)), key_(key), number_(number) {}

  void Value(const std::string& key, int64_t* value) override { Set(key, value); }
  void Value(const std::string&, uint64_t*) override {}
  void Value(const std::string& key, double* value) override { Set(key, value); }
  void Value(const std::string&, bool*) override {}
  void Value(const std::string&, std::string*) override {}
  void Value(const std::string& key, std::optional<double>* value) override { Set(key, value); }
  void Value(const std::string&, std::vector<std::string>*) override {}
  void Value(const std::string& key, std::vector<int64_t>* value) override {
    if (prefix_ + key == key_) *value = {static_cast<int64_t>(number_)};
  }
  void CountOr(const std::string&, const std::string& key, int64_t* value) override {
    Set(key, value);
  }
  void Choice(const std::string&, const std::vector<std::string>&, int*) override {}
  void Section(const std::string& key, const Body& body) override {
    NumberSetter section(prefix_ + key + ".", key_, number_);
    body(section);
  }
  bool Has(const std::string& key, bool held) override { return held || prefix_ + key == key_; }
  void List(const std::string& key, const std::function<size_t()>& size,
            const std::function<void(size_t)>&,
            const std::function<void(size_t, ConfigVisitor&)>& body) override {
    NumberSetter entry(prefix_ + key + "[].", key_, number_);
    if (size() > 0) body(0, entry);
  }
  void Names(const std::string& key, const std::vector<std::string>& names,
             const std::function<void(const std::string&, ConfigVisitor&)>& body) override {
    NumberSetter section(prefix_ + key + ".", key_, number_);
    for (const std::string& name : names) body(name, section);
  }
  void Only(bool, const std::string&, const Body& body) override { body(*this); }

 private:
  template <typename T>
  void Set(const std::string& key, T* value) {
    if (prefix_ + key == key_) *value = static_cast<std::decay_t<decltype(*value)>>(Typed(value));
  }
  int64_t Typed(const int64_t*) const { return static_cast<int64_t>(number_); }
  double Typed(const void*) const { return number_; }

  const std::string prefix_;
  const std::string& key_;
  const double number_;
};

// A configuration in which every numeric key is checked; of the smallest sizes, so that no other
// key bounds the one that is set.
RunConfig Checked(bool with_stages) {
  RunConfig config;
  config.model.num_layers = static_cast<int64_t>(MixerTypes().size());
  for (const MixerType& type : MixerTypes()) {
    config.model.mixers[type.name] = type.defaults;
    config.model.pattern.push_back(type.name);
  }
  config.model.mixers["delta_net"].As<DeltaMixerConfig>()->output_gate = OutputGate::kSilu;
  config.model.at["<mixer>"] = {1};
  config.model.moe = MoeConfig{.num_experts = 1024, .intermediate_size = 1, .first_dense = 0};
  config.tokenizer = {.type = TokenizerType::kBpe, .path = "t.model", .vocab_size = 300};
  config.data.seq_len = 1;
  config.data.sources = {{.dir = "store", .text = {.paths = {"a.txt"}}}};
  config.validation.sets = {{.name = "set", .dir = "set"}};
  config.evaluation = {.every = 1, .tasks = {"task.yaml"}};
  config.train.batch_tokens = 1;
  config.train.steps = with_stages ? 0 : 1;
  if (with_stages) config.stages = {{.name = "a", .steps = 1, .sources = config.data.sources}};
  return config;
}

// The errors of `key` if it has the value `number`.
std::vector<std::string> ErrorsWith(const std::string& key, double number) {
  RunConfig config = Checked(absl::StartsWith(key, "stages"));
  NumberSetter setter("", key, number);
  VisitRunConfig(setter, &config);
  const bool placed = absl::StartsWith(key, "model.at.");
  const std::string name = placed ? "model.at" : absl::StrReplaceAll(key, {{"[]", "[0]"}});
  std::vector<std::string> errors;
  for (const std::string& error : config.Validate()) {
    if (absl::StartsWith(error, name + ": ") && !absl::StrContains(error, "not among")) {
      errors.push_back(error);
    }
  }
  return errors;
}

struct Range {
  bool has_least = false, has_most = false;  // the ends belong to it
  double least = 0, most = 0;
};

Range ParseRange(const std::string& text) {
  Range range{.has_least = text.front() == '[', .has_most = text.back() == ']'};
  const std::vector<std::string> ends = absl::StrSplit(text.substr(1, text.size() - 2), ", ");
  EXPECT_EQ(ends.size(), 2u) << text;
  EXPECT_TRUE(absl::SimpleAtod(ends[0], &range.least) && absl::SimpleAtod(ends[1], &range.most))
      << text;
  return range;
}

TEST(ConfigReference, ThePageIsWhatTheCodeSays) {
  const auto page = ReadFile("docs/configuration.md");
  ASSERT_TRUE(page.ok());
  const std::vector<std::string> lines = absl::StrSplit(*page, '\n');
  const std::vector<std::string> expected = absl::StrSplit(ReferencePage(), '\n');
  for (size_t i = 0; i < std::min(lines.size(), expected.size()); ++i) {
    ASSERT_EQ(lines[i], expected[i])
        << "run: wyvern config keys --markdown > docs/configuration.md";
  }
  EXPECT_EQ(lines.size(), expected.size());
}

TEST(ConfigReference, EveryKeyHasASentence) {
  std::set<std::string> keys;
  for (const KeyEntry& entry : ConfigReference()) {
    EXPECT_TRUE(keys.insert(entry.key).second) << entry.key;
    EXPECT_TRUE(absl::EndsWith(entry.text, ".")) << entry.key << ": '" << entry.text << "'";
  }
  for (const char* key : {"train.steps", "data.sources[].dir", "stages[].schedule.peak",
                          "model.moe.num_experts", "model.mixers.kda.decay_rank"}) {
    EXPECT_EQ(keys.count(key), 1u) << key;
  }
  EXPECT_EQ(keys.count("model.mixers.delta_net.decay_rank"), 0u);  // kda's alone
}

TEST(ConfigReference, RangesAreThoseThatAreChecked) {
  // Their ends depend on other keys too.
  const std::set<std::string> bounded = {"model.mixers.attention.num_heads",
                                         "model.mixers.attention.num_kv_heads",
                                         "model.mixers.attention.rotary_dim",
                                         "model.mixers.mamba2.num_groups",
                                         "model.mixers.mla.qk_nope_dim",
                                         "model.moe.top_groups",
                                         "model.at.<mixer>",
                                         "parallel.context",
                                         "schedule.warmup_steps",
                                         "stages[].schedule.warmup_steps",
                                         "train.steps",
                                         "stages[].steps"};
  int count = 0;
  for (const KeyEntry& entry : ConfigReference()) {
    if (entry.range.empty() || entry.type == "text") continue;
    const Range range = ParseRange(entry.range);
    const bool integer =
        absl::StartsWith(entry.type, "integer") || entry.type == "list of integers";
    const auto beyond = [&](double end, bool inside, double direction) {
      if (!inside) return end;
      // Above 2^53 a double has even integers only.
      return end + direction * (integer ? 2 - (end < 1e15) : std::max(1e-6, std::abs(end) * 1e-6));
    };
    double below = beyond(range.least, range.has_least, -1);
    if (below == -1 && absl::StartsWith(entry.type, "integer or ")) below = -2;  // -1: the word
    EXPECT_FALSE(ErrorsWith(entry.key, below).empty()) << entry.key << " = " << below;
    if (range.has_least && bounded.count(entry.key) == 0) {
      EXPECT_EQ(ErrorsWith(entry.key, range.least), std::vector<std::string>())
          << entry.key << " = " << range.least;
    }
    ++count;
    if (std::isinf(range.most)) continue;
    const double above = beyond(range.most, range.has_most, 1);
    EXPECT_FALSE(ErrorsWith(entry.key, above).empty()) << entry.key << " = " << above;
    if (range.has_most && bounded.count(entry.key) == 0) {
      EXPECT_EQ(ErrorsWith(entry.key, range.most), std::vector<std::string>())
          << entry.key << " = " << range.most;
    }
  }
  EXPECT_GT(count, 80);
}

TEST(ConfigReference, APartIsFoundByItsKey) {
  const auto kda = ReferenceOf("model.mixers.kda");
  ASSERT_TRUE(kda.ok());
  EXPECT_EQ(kda->front().key, "model.mixers.kda");
  EXPECT_GT(kda->size(), 10u);
  const auto dir = ReferenceOf("data.sources[].dir");
  ASSERT_TRUE(dir.ok());
  ASSERT_EQ(dir->size(), 1u);
  EXPECT_EQ(dir->front().default_value, "required");
  EXPECT_EQ(ReferenceText(*dir),
            "data.sources[].dir: text; required; not empty\n"
            "    Folder of the token stores train.h5 and val.h5.\n");
  EXPECT_EQ(ReferenceJson(*dir)[0]["range"], "not empty");
  EXPECT_EQ(ReferenceOf("model.mixer").status().message(),
            "no key or section 'model.mixer'; did you mean 'model.mixers'?");
}

}  // namespace
}  // namespace wyvern
