#include "trainer/config/reference.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/runtime/nearest.h"
#include "trainer/config/fields.h"
#include "trainer/config/run_config.h"
#include "trainer/config/yaml_writer.h"

namespace wyvern {
namespace {

constexpr char kRequired[] = "required";

// Gathers the keys of one section, whose own key is `prefix` with its dot.
class ReferenceVisitor : public ConfigVisitor {
 public:
  ReferenceVisitor(std::string prefix, std::vector<KeyEntry>* entries)
      : prefix_(std::move(prefix)), entries_(entries) {}

  void Describe(const KeyDoc& doc) override { doc_ = doc; }

  void Value(const std::string& key, int64_t* value) override { Add(key, "integer", value); }
  void Value(const std::string& key, uint64_t* value) override { Add(key, "integer", value); }
  void Value(const std::string& key, double* value) override { Add(key, "number", value); }
  void Value(const std::string& key, bool* value) override { Add(key, "true or false", value); }
  void Value(const std::string& key, std::string* value) override { Add(key, "text", value); }
  void Value(const std::string& key, std::optional<double>* value) override {
    Add(key, "number", value);
    if (!value->has_value()) entries_->back().default_value = "unset";
  }
  void Value(const std::string& key, std::vector<std::string>* value) override {
    Add(key, "list of text", value);
  }
  void Value(const std::string& key, std::vector<int64_t>* value) override {
    Add(key, "list of integers", value);
  }
  void CountOr(const std::string& word, const std::string& key, int64_t* value) override {
    std::string line;  // "key: value\n"
    YamlWriter(&line).CountOr(word, key, value);
    Put(key, absl::StrCat("integer or ", word),
        line.substr(key.size() + 2, line.size() - key.size() - 3));
  }
  void Choice(const std::string& key, const std::vector<std::string>& names, int* index) override {
    Put(key, absl::StrCat("one of ", absl::StrJoin(names, ", ")),
        names[static_cast<size_t>(*index)]);
  }

  void Section(const std::string& key, const Body& body) override {
    Put(key, "section", "");
    ReferenceVisitor section(absl::StrCat(prefix_, key, "."), entries_);
    body(section);
  }
  bool Has(const std::string&, bool) override { return true; }
  void List(const std::string& key, const std::function<size_t()>&,
            const std::function<void(size_t)>& resize,
            const std::function<void(size_t, ConfigVisitor&)>& body) override {
    Put(key, "list", "");
    resize(1);
    ReferenceVisitor entry(absl::StrCat(prefix_, key, "[]."), entries_);
    body(0, entry);
  }
  void Names(const std::string& key, const std::vector<std::string>& names,
             const std::function<void(const std::string&, ConfigVisitor&)>& body) override {
    Put(key, "section", "");
    ReferenceVisitor section(absl::StrCat(prefix_, key, "."), entries_);
    for (const std::string& name : names) body(name, section);
  }
  // The keys of a mixer stand under its type, so keys of other types have no place there.
  void Only(bool applies, const std::string& instead, const Body& body) override {
    const bool of_mixer = absl::StartsWith(prefix_, "model.mixers.");
    if (applies || !of_mixer || !absl::StartsWith(instead, "type: ")) body(*this);
  }

 private:
  void Put(const std::string& key, std::string type, std::string value) {
    entries_->push_back({.key = prefix_ + key,
                         .type = std::move(type),
                         .default_value = std::move(value),
                         .range = doc_.range,
                         .unit = doc_.unit,
                         .text = doc_.text});
    doc_ = KeyDoc();
  }

  template <typename T>
  void Add(const std::string& key, const char* type, T* value) {
    std::string line;  // "key: value\n"
    YamlWriter(&line).Value(key, value);
    Put(key, type, line.size() < key.size() + 3 ? "" : line.substr(key.size() + 2));
    std::string& text = entries_->back().default_value;
    if (!text.empty()) text.pop_back();
  }

  const std::string prefix_;
  std::vector<KeyEntry>* entries_;
  KeyDoc doc_;
};

// Whether the default only stands for a value that the file has to give: an empty text that must
// not be empty, 0 below a range from 1, and the type of a mixer.
bool MustBeGiven(const KeyEntry& entry) {
  if (absl::StartsWith(entry.key, "model.mixers.")) return absl::EndsWith(entry.key, ".type");
  if (entry.default_value == "\"\"") return !entry.range.empty();
  return entry.type == "integer" && entry.default_value == "0" && !entry.range.empty() &&
         !absl::StartsWith(entry.range, "[0");
}

std::string TypeText(const KeyEntry& entry) {
  return entry.unit.empty() ? entry.type : absl::StrCat(entry.type, " (", entry.unit, ")");
}

// A key below the section of a table.
std::string Row(const KeyEntry& entry, size_t prefix_size) {
  const std::string value = entry.default_value == kRequired || entry.default_value == "unset"
                                ? entry.default_value
                                : absl::StrCat("`", entry.default_value, "`");
  return absl::StrCat("| `", entry.key.substr(prefix_size), "` | ", TypeText(entry), " | ", value,
                      " | ", entry.range, " | ", entry.text, " |\n");
}

constexpr char kTableHead[] =
    "\n| key | type (unit) | default | range | meaning |\n|---|---|---|---|---|\n";

}  // namespace

std::vector<KeyEntry> ConfigReference() {
  RunConfig config;
  for (const MixerType& type : MixerTypes()) config.model.mixers[type.name] = type.defaults;
  config.model.at["<mixer>"] = {};
  std::vector<KeyEntry> entries;
  ReferenceVisitor visitor("", &entries);
  VisitRunConfig(visitor, &config);
  for (KeyEntry& entry : entries) {
    if (MustBeGiven(entry)) entry.default_value = kRequired;
  }
  return entries;
}

absl::StatusOr<std::vector<KeyEntry>> ReferenceOf(absl::string_view section) {
  std::vector<KeyEntry> found;
  std::vector<std::string> known;
  for (KeyEntry& entry : ConfigReference()) {
    known.push_back(entry.key);
    const absl::string_view key = entry.key;
    const bool below = absl::StartsWith(key, section) && key.size() > section.size() &&
                       (key[section.size()] == '.' || key[section.size()] == '[');
    if (key == section || below) found.push_back(std::move(entry));
  }
  if (!found.empty()) return found;
  const std::string nearest = Nearest(section, known);
  return absl::InvalidArgumentError(
      absl::StrCat("no key or section '", section, "'",
                   nearest.empty() ? "; `wyvern config keys` lists them all"
                                   : absl::StrCat("; did you mean '", nearest, "'?")));
}

std::string ReferenceText(const std::vector<KeyEntry>& entries) {
  std::string text;
  for (const KeyEntry& entry : entries) {
    absl::StrAppend(&text, entry.key);
    if (!entry.HasKeys()) {
      absl::StrAppend(&text, ": ", TypeText(entry), "; ",
                      entry.default_value == kRequired
                          ? kRequired
                          : absl::StrCat("default ", entry.default_value));
      if (!entry.range.empty()) absl::StrAppend(&text, "; ", entry.range);
    }
    absl::StrAppend(&text, "\n    ", entry.text, "\n");
  }
  return text;
}

nlohmann::json ReferenceJson(const std::vector<KeyEntry>& entries) {
  nlohmann::json json = nlohmann::json::array();
  for (const KeyEntry& entry : entries) {
    json.push_back({{"key", entry.key}, {"type", entry.type}, {"text", entry.text}});
    if (entry.HasKeys()) continue;
    json.back()["default"] = entry.default_value;
    if (!entry.range.empty()) json.back()["range"] = entry.range;
    if (!entry.unit.empty()) json.back()["unit"] = entry.unit;
  }
  return json;
}

std::string ReferencePage() {
  std::string page =
      "# Configuration keys\n\n"
      "`wyvern config keys --markdown` prints this page, and a test compares the two.\n"
      "`wyvern config keys SECTION` prints a part of it, and `wyvern config show FILE` the values "
      "of a run.\n"
      "[configs/](../configs/README.md) explains how a file is written.\n\n"
      "- A default that is *required* must be given by the file.\n"
      "- Ranges are intervals: `[` and `]` include the end, `(` and `)` do not.\n"
      "- `[]` in a key stands for each entry of a list.\n"
      "- Mixers have names of your own; here their keys stand under the name of their type.\n"
      "- A key that has no effect beside the others is an error, as is an unknown one.\n"
      "- The section `cuda` may hold any of these sections. Its keys override the others where "
      "the device is CUDA.\n";
  const std::vector<KeyEntry> entries = ConfigReference();
  for (const KeyEntry& part : entries) {
    if (!part.HasKeys()) continue;
    const bool top = !absl::StrContains(part.key, '.');
    absl::StrAppend(&page, "\n", top ? "## `" : "### `", part.key, "`\n\n", part.text, "\n");
    const std::string prefix = absl::StrCat(part.key, part.type == "list" ? "[]." : ".");
    bool first = true;
    for (const KeyEntry& entry : entries) {
      const bool below = absl::StartsWith(entry.key, prefix) && !entry.HasKeys();
      if (!below || absl::StrContains(entry.key.substr(prefix.size()), '.')) continue;
      absl::StrAppend(&page, first ? kTableHead : "", Row(entry, prefix.size()));
      first = false;
    }
  }
  return page;
}

}  // namespace wyvern
