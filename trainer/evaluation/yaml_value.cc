#include "trainer/evaluation/yaml_value.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using jinja::Value;

bool IsAnyOf(const std::string& text, std::initializer_list<const char*> lower) {
  // All in lower case, in upper case, or with a capital letter.
  std::string capital = absl::AsciiStrToLower(text);
  if (!capital.empty()) {
    capital[0] = absl::ascii_toupper(static_cast<unsigned char>(capital[0]));
  }
  if (text != absl::AsciiStrToLower(text) && text != absl::AsciiStrToUpper(text) &&
      text != capital) {
    return false;
  }
  return std::find(lower.begin(), lower.end(), absl::AsciiStrToLower(text)) != lower.end();
}

absl::StatusOr<Value> PlainScalar(const ConfigNode& node) {
  const std::string& text = node.scalar;
  if (text.empty() || text == "~" || IsAnyOf(text, {"null"})) return Value::None();
  if (IsAnyOf(text, {"true", "yes", "on"})) return Value::Bool(true);
  if (IsAnyOf(text, {"false", "no", "off"})) return Value::Bool(false);
  const size_t digits = text.find_first_not_of("+-");
  const bool is_numeric =
      digits != std::string::npos && digits <= 1 &&
      (absl::ascii_isdigit(static_cast<unsigned char>(text[digits])) || text[digits] == '.') &&
      text.find_first_not_of("0123456789_.:+-eExXabcdefABCDEF") == std::string::npos;
  if (!is_numeric) return Value::Text(text);
  int64_t integer = 0;
  double number = 0;
  const bool has_leading_zero =
      text[digits] == '0' && text.size() > digits + 1 && text[digits + 1] != '.';
  if (!has_leading_zero && text.find_first_of("_:") == std::string::npos) {
    if (absl::SimpleAtoi(text, &integer)) return Value::Int(integer);
    if (text.find('.') != std::string::npos && absl::SimpleAtod(text, &number)) {
      return Value::Float(number);
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat(node.where, ": ", node.Describe(), ": quote it if it is a text"));
}

}  // namespace

absl::StatusOr<Value> YamlValue(const ConfigNode& node) {
  if (!node.tag.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(node.where, ": ", node.tag, " ", node.scalar,
                                                   ": Wyvern runs no code of Python; write a "
                                                   "template or the name of a field instead"));
  }
  switch (node.kind) {
    case ConfigNode::Kind::kNull:
      return Value::None();
    case ConfigNode::Kind::kScalar:
      if (node.quoted) return Value::Text(node.scalar);
      return PlainScalar(node);
    case ConfigNode::Kind::kList: {
      jinja::List items;
      for (const ConfigNode& item : node.list) {
        ASSIGN_OR_RETURN(Value value, YamlValue(item));
        items.push_back(std::move(value));
      }
      return Value::OfList(std::move(items));
    }
    case ConfigNode::Kind::kMap: {
      jinja::Dict members;
      for (const ConfigMember& member : node.map) {
        ASSIGN_OR_RETURN(Value value, YamlValue(member.value));
        members.emplace_back(Value::Text(member.key), std::move(value));
      }
      return Value::OfDict(std::move(members));
    }
  }
  return absl::InternalError("a node of no kind");
}

absl::Status TaskFault(const ConfigNode& node, const std::string& key, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(node.where, ": ", key, ": ", what));
}

}  // namespace wyvern
