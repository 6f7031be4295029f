#include "trainer/evaluation/task.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/bounded_file.h"
#include "data/io/utf8.h"
#include "kernels/runtime/status.h"
#include "trainer/evaluation/yaml_value.h"

namespace wyvern {
namespace {

using jinja::Value;

struct NamedKind {
  const char* name;
  TaskKind kind;
  std::vector<Metric> metrics;  // that it has
  size_t num_defaults;          // of them, the first ones, where the file names none
};
const std::vector<NamedKind>& Kinds() {
  static const auto& kinds = *new std::vector<NamedKind>{
      {"multiple_choice",
       TaskKind::kMultipleChoice,
       {Metric::kAcc, Metric::kAccNorm, Metric::kAccBytes},
       2},
      {"loglikelihood", TaskKind::kLogLikelihood, {Metric::kPerplexity, Metric::kAcc}, 2},
      {"loglikelihood_rolling",
       TaskKind::kRolling,
       {Metric::kWordPerplexity, Metric::kBytePerplexity, Metric::kBitsPerByte},
       3},
      {"generate_until",
       TaskKind::kGenerate,
       {Metric::kExactMatch, Metric::kContains, Metric::kWordRecall},
       1}};
  return kinds;
}

// Keys without an effect on the scores of a task without examples.
constexpr absl::string_view kIdle[] = {"task_alias",
                                       "tag",
                                       "training_split",
                                       "fewshot_split",
                                       "fewshot_config",
                                       "should_decontaminate",
                                       "doc_to_decontamination_query",
                                       "metadata"};

const char* AggregationOf(Metric metric) {
  switch (metric) {
    case Metric::kPerplexity:
      return "perplexity";
    case Metric::kWordPerplexity:
    case Metric::kBytePerplexity:
      return "weighted_perplexity";
    case Metric::kBitsPerByte:
      return "bits_per_byte";
    default:
      return "mean";
  }
}

class TaskReader {
 public:
  TaskReader(const ConfigNode& root, std::string path) : root_(root) {
    task_.path = std::move(path);
  }

  absl::StatusOr<Task> Read() {
    RETURN_IF_ERROR(CheckKeys());
    ASSIGN_OR_RETURN(task_.name, Text("task", ""));
    if (task_.name.empty()) return Missing("task", "the task's name");
    RETURN_IF_ERROR(ReadKind());
    RETURN_IF_ERROR(ReadData());
    RETURN_IF_ERROR(ReadFields());
    RETURN_IF_ERROR(ReadGeneration());
    RETURN_IF_ERROR(ReadMetrics());
    return std::move(task_);
  }

 private:
  const ConfigNode* Find(absl::string_view key) const {
    const ConfigNode* node = root_.Find(key);
    return node == nullptr || node->kind == ConfigNode::Kind::kNull ? nullptr : node;
  }
  absl::Status Missing(const std::string& key, const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(task_.path, ": ", key, ": missing: ", what));
  }
  static absl::Status Expected(const ConfigNode& node, const std::string& key,
                               const std::string& what) {
    return TaskFault(node, key, absl::StrCat("expected ", what, ", got ", node.Describe()));
  }

  static absl::StatusOr<std::string> TextOf(const ConfigNode& node, const std::string& key) {
    ASSIGN_OR_RETURN(const Value value, YamlValue(node));
    if (value.as_text() == nullptr) return Expected(node, key, "a text");
    return *value.as_text();
  }
  absl::StatusOr<std::string> Text(const std::string& key, const std::string& otherwise) const {
    const ConfigNode* node = Find(key);
    if (node == nullptr) return otherwise;
    return TextOf(*node, key);
  }
  static absl::StatusOr<bool> BoolOf(const ConfigNode& node, const std::string& key) {
    ASSIGN_OR_RETURN(const Value value, YamlValue(node));
    if (value.as_bool() == nullptr) return Expected(node, key, "true or false");
    return *value.as_bool();
  }
  static absl::StatusOr<int64_t> IntegerOf(const ConfigNode& node, const std::string& key) {
    ASSIGN_OR_RETURN(const Value value, YamlValue(node));
    int64_t integer = 0;
    if (value.as_bool() != nullptr || !value.AsInt(&integer)) {
      return Expected(node, key, "an integer");
    }
    return integer;
  }
  // A text, or a list of them.
  static absl::StatusOr<std::vector<std::string>> TextsOf(const ConfigNode& node,
                                                          const std::string& key) {
    std::vector<std::string> texts;
    if (node.kind != ConfigNode::Kind::kList) {
      ASSIGN_OR_RETURN(std::string text, TextOf(node, key));
      texts.push_back(std::move(text));
      return texts;
    }
    for (const ConfigNode& item : node.list) {
      ASSIGN_OR_RETURN(std::string text, TextOf(item, key));
      texts.push_back(std::move(text));
    }
    return texts;
  }

  absl::Status CheckKeys() const {
    if (root_.kind != ConfigNode::Kind::kMap) {
      return absl::InvalidArgumentError(absl::StrCat(task_.path, ": expected a task's keys"));
    }
    if (const std::vector<std::string> repeated = RepeatedKeys(root_); !repeated.empty()) {
      return absl::InvalidArgumentError(absl::StrJoin(repeated, "\n"));
    }
    constexpr absl::string_view kKnown[] = {
        "task",        "dataset_path",     "dataset_name",      "dataset_kwargs", "test_split",
        "output_type", "validation_split", "doc_to_text",       "doc_to_target",  "doc_to_choice",
        "description", "target_delimiter", "fewshot_delimiter", "gen_prefix",     "num_fewshot",
        "metric_list", "repeats",          "generation_kwargs"};
    for (const auto& [key, node] : root_.map) {
      if (node.kind == ConfigNode::Kind::kNull) continue;
      if (std::find(std::begin(kKnown), std::end(kKnown), key) != std::end(kKnown)) continue;
      if (std::find(std::begin(kIdle), std::end(kIdle), key) != std::end(kIdle)) continue;
      return TaskFault(node, key,
                       "Wyvern has no such key of tasks; lm-eval runs them all "
                       "(integrations/lm_eval)");
    }
    const std::pair<const char*, int64_t> only[] = {{"num_fewshot", 0}, {"repeats", 1}};
    for (const auto& [key, value] : only) {
      const ConfigNode* node = Find(key);
      if (node == nullptr) continue;
      ASSIGN_OR_RETURN(const int64_t given, IntegerOf(*node, key));
      if (given != value) return Expected(*node, key, absl::StrCat(value, ", the only value here"));
    }
    return absl::OkStatus();
  }

  absl::Status ReadKind() {
    ASSIGN_OR_RETURN(const std::string name, Text("output_type", "generate_until"));
    std::vector<std::string> names;
    for (const NamedKind& kind : Kinds()) {
      names.emplace_back(kind.name);
      if (name == kind.name) kind_ = &kind;
    }
    if (kind_ == nullptr) {
      return Expected(*Find("output_type"), "output_type", absl::StrJoin(names, ", "));
    }
    task_.kind = kind_->kind;
    return absl::OkStatus();
  }

  absl::Status ReadData() {
    ASSIGN_OR_RETURN(const std::string form, Text("dataset_path", ""));
    if (form != "json") {
      return absl::InvalidArgumentError(absl::StrCat(
          Find("dataset_path") == nullptr ? task_.path : Find("dataset_path")->where,
          ": dataset_path: expected json, the form of local files; `lm_eval` reads others "
          "(integrations/lm_eval)"));
    }
    if (const ConfigNode* name = Find("dataset_name")) {
      return TaskFault(*name, "dataset_name", "files of the form json have no part of a name");
    }
    const ConfigNode* kwargs = Find("dataset_kwargs");
    const ConfigNode* files = kwargs == nullptr ? nullptr : kwargs->Find("data_files");
    if (files == nullptr) {
      return Missing("dataset_kwargs.data_files", "the files of the task's documents");
    }
    for (const auto& [key, node] : kwargs->map) {
      if (key == "data_files") continue;
      return TaskFault(node, absl::StrCat("dataset_kwargs.", key), "Wyvern has no such key");
    }
    const bool has_test = Find("test_split") != nullptr;
    ASSIGN_OR_RETURN(const std::string split,
                     Text(has_test ? "test_split" : "validation_split", ""));
    if (split.empty()) return Missing("test_split", "the name of the split with the documents");
    const ConfigNode* of_split = files;
    if (files->kind == ConfigNode::Kind::kMap) {
      of_split = files->Find(split);
    } else if (split != "train") {
      of_split = nullptr;  // files without a name of a split are the split train
    }
    if (of_split == nullptr) {
      return TaskFault(*files, "dataset_kwargs.data_files",
                       absl::StrCat("has no files of the split ", split));
    }
    ASSIGN_OR_RETURN(task_.data_files, TextsOf(*of_split, "dataset_kwargs.data_files"));
    const std::filesystem::path folder = std::filesystem::path(task_.path).parent_path();
    for (std::string& file : task_.data_files) file = (folder / file).string();
    if (task_.data_files.empty()) {
      return TaskFault(*files, "dataset_kwargs.data_files", "names no file");
    }
    return absl::OkStatus();
  }

  absl::Status ReadFields() {
    const std::pair<const char*, std::optional<TaskField>*> fields[] = {
        {"doc_to_text", &task_.doc_to_text},
        {"doc_to_target", &task_.doc_to_target},
        {"doc_to_choice", &task_.doc_to_choice},
        {"description", &task_.description},
        {"gen_prefix", &task_.gen_prefix}};
    for (const auto& [key, field] : fields) {
      const ConfigNode* node = Find(key);
      if (node == nullptr) continue;
      ASSIGN_OR_RETURN(*field, TaskField::Make(key, *node));
    }
    if (!task_.doc_to_text.has_value()) return Missing("doc_to_text", "a template or a field");
    if (!task_.doc_to_target.has_value()) return Missing("doc_to_target", "a template or a field");
    if (task_.kind == TaskKind::kMultipleChoice && !task_.doc_to_choice.has_value()) {
      return Missing("doc_to_choice", "multiple_choice needs the choices");
    }
    ASSIGN_OR_RETURN(task_.target_delimiter, Text("target_delimiter", " "));
    return absl::OkStatus();
  }

  absl::Status ReadGeneration() {
    ASSIGN_OR_RETURN(const std::string otherwise, Text("fewshot_delimiter", "\n\n"));
    task_.until = {otherwise};
    const ConfigNode* kwargs = Find("generation_kwargs");
    if (kwargs == nullptr) return absl::OkStatus();
    if (task_.kind != TaskKind::kGenerate) {
      return TaskFault(*kwargs, "generation_kwargs", "only generate_until writes texts");
    }
    for (const auto& [name, node] : kwargs->map) {
      const std::string key = absl::StrCat("generation_kwargs.", name);
      if (name == "until") {
        ASSIGN_OR_RETURN(task_.until, TextsOf(node, key));
      } else if (name == "max_gen_toks") {
        ASSIGN_OR_RETURN(task_.max_gen_toks, IntegerOf(node, key));
        if (task_.max_gen_toks < 1) return Expected(node, key, "an integer from 1");
      } else if (name == "do_sample") {
        ASSIGN_OR_RETURN(const bool samples, BoolOf(node, key));
        if (samples) return TaskFault(node, key, "only greedy texts are scored; set it to false");
      } else if (name == "temperature") {
        ASSIGN_OR_RETURN(const Value value, YamlValue(node));
        double temperature = 1;
        if (!value.AsNumber(&temperature) || temperature != 0) {
          return TaskFault(node, key, "only greedy texts are scored; set it to 0");
        }
      } else {
        return TaskFault(node, key, "Wyvern has no such key");
      }
    }
    // As in lm-eval's models: an empty stop string stops nothing.
    task_.until.erase(std::remove(task_.until.begin(), task_.until.end(), ""), task_.until.end());
    return absl::OkStatus();
  }

  absl::Status ReadMetrics() {
    const ConfigNode* list = Find("metric_list");
    if (list == nullptr) {
      for (size_t i = 0; i < kind_->num_defaults; ++i) {
        task_.metrics.push_back({.metric = kind_->metrics[i]});
      }
      return absl::OkStatus();
    }
    if (list->kind != ConfigNode::Kind::kList || list->list.empty()) {
      return Expected(*list, "metric_list", "a list of sections with the key metric");
    }
    for (size_t i = 0; i < list->list.size(); ++i) {
      RETURN_IF_ERROR(ReadMetric(list->list[i], absl::StrCat("metric_list[", i, "]")));
    }
    return absl::OkStatus();
  }

  absl::Status ReadMetric(const ConfigNode& section, const std::string& place) {
    const ConfigNode* named = section.Find("metric");
    if (named == nullptr) return TaskFault(section, place, "expected the key metric");
    ASSIGN_OR_RETURN(const std::string name, TextOf(*named, place + ".metric"));
    TaskMetric metric;
    std::vector<std::string> names;
    bool is_known = false;
    for (const Metric known : kind_->metrics) {
      names.emplace_back(Name(known));
      if (name != names.back()) continue;
      metric.metric = known;
      is_known = true;
    }
    if (!is_known) {
      return Expected(*named, place + ".metric",
                      absl::StrCat("one of ", absl::StrJoin(names, ", "), " for ", kind_->name));
    }
    for (const TaskMetric& before : task_.metrics) {
      if (before.metric == metric.metric) return TaskFault(*named, place, "given twice; keep one");
    }
    for (const auto& [key, node] : section.map) {
      const std::string whole = absl::StrCat(place, ".", key);
      if (key == "metric" || key == "higher_is_better") continue;
      if (key == "aggregation") {
        ASSIGN_OR_RETURN(const std::string aggregation, TextOf(node, whole));
        const char* const own = AggregationOf(metric.metric);
        if (aggregation != own) return Expected(node, whole, absl::StrCat(own, ", that of ", name));
        continue;
      }
      bool* option = nullptr;
      if (metric.metric == Metric::kExactMatch && key == "ignore_case") {
        option = &metric.ignore_case;
      } else if (metric.metric == Metric::kExactMatch && key == "ignore_punctuation") {
        option = &metric.ignore_punctuation;
      } else if (metric.metric == Metric::kExactMatch && key == "ignore_numbers") {
        option = &metric.ignore_numbers;
      } else {
        return TaskFault(node, whole, absl::StrCat(name, " has no such key in Wyvern"));
      }
      ASSIGN_OR_RETURN(*option, BoolOf(node, whole));
    }
    task_.metrics.push_back(metric);
    return absl::OkStatus();
  }

  const ConfigNode& root_;
  Task task_;
  const NamedKind* kind_ = nullptr;
};

}  // namespace

const char* Name(Metric metric) {
  switch (metric) {
    case Metric::kAcc:
      return "acc";
    case Metric::kAccNorm:
      return "acc_norm";
    case Metric::kAccBytes:
      return "acc_bytes";
    case Metric::kPerplexity:
      return "perplexity";
    case Metric::kWordPerplexity:
      return "word_perplexity";
    case Metric::kBytePerplexity:
      return "byte_perplexity";
    case Metric::kBitsPerByte:
      return "bits_per_byte";
    case Metric::kExactMatch:
      return "exact_match";
    case Metric::kContains:
      return "contains";
    case Metric::kWordRecall:
      return "word_recall";
  }
  return "";
}

bool IsHigherBetter(Metric metric) {
  switch (metric) {
    case Metric::kPerplexity:
    case Metric::kWordPerplexity:
    case Metric::kBytePerplexity:
    case Metric::kBitsPerByte:
      return false;
    default:
      return true;
  }
}

absl::StatusOr<Task> ReadTask(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string yaml, ReadFileOf(kTaskFile, path));
  if (const size_t good = Utf8PrefixLength(yaml); good < yaml.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": byte ", good + 1, ": it is not UTF-8, or a zero byte"));
  }
  ASSIGN_OR_RETURN(const ConfigNode root, ParseConfigText(yaml, path));
  return TaskReader(root, path).Read();
}

}  // namespace wyvern
