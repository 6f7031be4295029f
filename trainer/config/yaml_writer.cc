#include "trainer/config/yaml_writer.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/json.h"

namespace wyvern {
namespace {

// The shortest text that reads back as the same number.
std::string NumberText(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  return std::string(text, end);
}

// Plain where that is unambiguous, else in double quotes with JSON's escapes, which are YAML's too.
std::string StringText(const std::string& value) {
  bool plain = !value.empty() && absl::ascii_isalpha(value[0]);
  for (const char c : value) {
    plain = plain && (absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.' || c == '/');
  }
  const std::string lower = absl::AsciiStrToLower(value);
  plain = plain && lower != "null" && lower != "true" && lower != "false";
  return plain ? value : JsonText(value);
}

}  // namespace

void YamlWriter::Line(const std::string& key, const std::string& value) {
  absl::StrAppend(out_, std::string(indent_, ' '), key, ":", value.empty() ? "" : " ", value, "\n");
}

void YamlWriter::Value(const std::string& key, int64_t* value) { Line(key, absl::StrCat(*value)); }
void YamlWriter::Value(const std::string& key, uint64_t* value) { Line(key, absl::StrCat(*value)); }
void YamlWriter::Value(const std::string& key, double* value) { Line(key, NumberText(*value)); }
void YamlWriter::Value(const std::string& key, bool* value) {
  Line(key, *value ? "true" : "false");
}
void YamlWriter::Value(const std::string& key, std::string* value) {
  Line(key, StringText(*value));
}

void YamlWriter::Value(const std::string& key, std::optional<double>* value) {
  if (value->has_value()) Line(key, NumberText(**value));
}

void YamlWriter::Value(const std::string& key, std::vector<std::string>* value) {
  const auto append = [](std::string* out, const std::string& entry) {
    out->append(StringText(entry));
  };
  Line(key, absl::StrCat("[", absl::StrJoin(*value, ", ", append), "]"));
}

void YamlWriter::Value(const std::string& key, std::vector<int64_t>* value) {
  Line(key, absl::StrCat("[", absl::StrJoin(*value, ", "), "]"));
}

void YamlWriter::CountOr(const std::string& word, const std::string& key, int64_t* value) {
  Line(key, *value == -1 ? word : absl::StrCat(*value));
}

void YamlWriter::Choice(const std::string& key, const std::vector<std::string>& names, int* index) {
  Line(key, names[*index]);
}

void YamlWriter::Section(const std::string& key, const Body& body) {
  Line(key, "");
  YamlWriter writer(out_, indent_ + 2);
  body(writer);
}

void YamlWriter::List(const std::string& key, const std::function<size_t()>& size,
                      const std::function<void(size_t)>&,
                      const std::function<void(size_t, ConfigVisitor&)>& body) {
  Line(key, size() == 0 ? "[]" : "");
  for (size_t i = 0; i < size(); ++i) {
    std::string entry;
    YamlWriter writer(&entry, indent_ + 4);
    body(i, writer);
    entry[indent_ + 2] = '-';
    out_->append(entry);
  }
}

void YamlWriter::Names(const std::string& key, const std::vector<std::string>& names,
                       const std::function<void(const std::string&, ConfigVisitor&)>& body) {
  Line(key, names.empty() ? "{}" : "");
  YamlWriter writer(out_, indent_ + 2);
  for (const std::string& name : names) body(name, writer);
}

void YamlWriter::Only(bool applies, const std::string&, const Body& body) {
  if (applies) body(*this);
}

}  // namespace wyvern
