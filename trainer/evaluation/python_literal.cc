#include "trainer/evaluation/python_literal.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "data/tokenizer/code_points.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using jinja::Value;
using Result = absl::StatusOr<Value>;

constexpr int kMaxDepth = 64;

class LiteralParser {
 public:
  explicit LiteralParser(absl::string_view text) : rest_(text) {}

  Result Run() {
    ASSIGN_OR_RETURN(Value value, Items(/*closing=*/'\0', /*is_list=*/false));
    SkipSpace();
    if (!rest_.empty()) return Fault();
    return value;
  }

 private:
  absl::Status Fault() const {
    return absl::InvalidArgumentError(
        rest_.empty()
            ? std::string("it ends too early")
            : absl::StrCat("unexpected '", jinja::Characters(rest_.substr(0, 4)).front(), "'"));
  }
  void SkipSpace() {
    while (!rest_.empty() && absl::StrContains(" \t\n\r\f", rest_[0])) rest_.remove_prefix(1);
  }
  bool Take(char c) {
    SkipSpace();
    if (rest_.empty() || rest_[0] != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  // Values up to the closing bracket, which is taken; '\0': the end of the text. A single one
  // without a comma behind it is no tuple.
  Result Items(char closing, bool is_list) {
    jinja::List items;
    bool has_comma = false;
    while (true) {
      SkipSpace();
      if (closing == '\0' ? rest_.empty() : Take(closing)) break;
      if (!items.empty() && !has_comma) return Fault();
      ASSIGN_OR_RETURN(Value item, Next());
      items.push_back(std::move(item));
      has_comma = Take(',');
    }
    if (is_list) return Value::OfList(std::move(items));
    if (items.size() == 1 && !has_comma) return std::move(items[0]);
    if (items.empty() && closing == '\0') return Fault();
    return Value::Of(jinja::Sequence::Type::kTuple, std::move(items));
  }

  Result Members() {
    jinja::Dict members;
    bool has_comma = true;
    while (!Take('}')) {
      if (!has_comma) return Fault();
      ASSIGN_OR_RETURN(Value key, Next());
      if (!Take(':')) return Fault();
      ASSIGN_OR_RETURN(Value value, Next());
      const auto same = std::find_if(members.begin(), members.end(), [&](const auto& member) {
        return jinja::Equal(member.first, key);
      });
      if (same == members.end()) {
        members.emplace_back(std::move(key), std::move(value));
      } else {
        same->second = std::move(value);
      }
      has_comma = Take(',');
    }
    return Value::OfDict(std::move(members));
  }

  Result Next() {
    if (++depth_ > kMaxDepth) return absl::InvalidArgumentError("nested too deeply");
    Result value = NextAtDepth();
    --depth_;
    return value;
  }

  Result NextAtDepth() {
    SkipSpace();
    if (rest_.empty()) return Fault();
    if (Take('[')) return Items(']', /*is_list=*/true);
    if (Take('(')) return Items(')', /*is_list=*/false);
    if (Take('{')) return Members();
    if (absl::StrContains("+-.0123456789", rest_[0])) return Number();
    return Word();
  }

  Result Number() {
    const size_t end = rest_.find_first_not_of("+-.0123456789_eE");
    const absl::string_view digits = rest_.substr(0, end);
    const std::string plain = absl::StrReplaceAll(digits, {{"_", ""}});
    int64_t integer = 0;
    double number = 0;
    const absl::string_view without_sign = absl::string_view(plain).substr(
        plain.find_first_not_of("+-") == std::string::npos ? 0 : plain.find_first_not_of("+-"));
    const bool has_leading_zero = without_sign.size() > 1 && without_sign[0] == '0' &&
                                  absl::ascii_isdigit(static_cast<unsigned char>(without_sign[1]));
    Value value;
    if (absl::SimpleAtoi(plain, &integer) && !has_leading_zero) {
      value = Value::Int(integer);
    } else if (plain.find_first_of(".eE") != std::string::npos &&
               absl::SimpleAtod(plain, &number) && std::isfinite(number)) {
      value = Value::Float(number);
    } else {
      return Fault();
    }
    rest_.remove_prefix(digits.size());
    return value;
  }

  // A string, or the name of a constant.
  Result Word() {
    const size_t end = std::min(rest_.size(), rest_.find_first_not_of("abcdefghijklmnopqrstuvwxyz"
                                                                      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                                      "_"));
    const absl::string_view word = rest_.substr(0, end);
    if (end < rest_.size() && (rest_[end] == '\'' || rest_[end] == '"')) return Strings();
    for (const auto& [name, value] :
         {std::pair("None", Value::None()), std::pair("True", Value::Bool(true)),
          std::pair("False", Value::Bool(false))}) {
      if (word != name) continue;
      rest_.remove_prefix(end);
      return value;
    }
    return Fault();
  }

  // Strings beside one another are one.
  Result Strings() {
    std::string text;
    while (true) {
      SkipSpace();
      const size_t quote = rest_.find_first_of("'\"");
      const std::string prefix =
          absl::AsciiStrToLower(rest_.substr(0, std::min(quote, rest_.size())));
      if (quote == absl::string_view::npos || (!prefix.empty() && prefix != "r" && prefix != "u")) {
        return Value::Text(std::move(text));
      }
      rest_.remove_prefix(quote);
      RETURN_IF_ERROR(String(/*is_raw=*/prefix == "r", &text));
    }
  }

  absl::Status String(bool is_raw, std::string* text) {
    std::string quotes(1, rest_[0]);
    if (absl::StartsWith(rest_, std::string(3, quotes[0]))) quotes = std::string(3, quotes[0]);
    rest_.remove_prefix(quotes.size());
    while (!absl::ConsumePrefix(&rest_, quotes)) {
      if (rest_.empty() || (rest_[0] == '\n' && quotes.size() == 1)) {
        return absl::InvalidArgumentError("a string does not end");
      }
      if (rest_[0] == '\\' && rest_.size() > 1) {
        if (is_raw) {
          absl::StrAppend(text, rest_.substr(0, 2));
          rest_.remove_prefix(2);
        } else {
          RETURN_IF_ERROR(Escape(text));
        }
        continue;
      }
      text->push_back(rest_[0]);
      rest_.remove_prefix(1);
    }
    return absl::OkStatus();
  }

  absl::Status Escape(std::string* text) {
    constexpr absl::string_view kNames = "\\'\"abfnrtv", kStandFor = "\\'\"\a\b\f\n\r\t\v";
    const char c = rest_[1];
    if (const size_t known = kNames.find(c); known != absl::string_view::npos) {
      text->push_back(kStandFor[known]);
      rest_.remove_prefix(2);
      return absl::OkStatus();
    }
    if (c == '\n') {
      rest_.remove_prefix(2);
      return absl::OkStatus();
    }
    uint32_t code = 0;
    size_t size = 2;
    if (c >= '0' && c <= '7') {
      for (size = 1; size < 4 && size < rest_.size() && rest_[size] >= '0' && rest_[size] <= '7';
           ++size) {
        code = 8 * code + static_cast<uint32_t>(rest_[size] - '0');
      }
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      size += digits;
      const absl::string_view hex = rest_.substr(2, digits);
      if (hex.size() < digits ||
          hex.find_first_not_of("0123456789abcdefABCDEF") != absl::string_view::npos ||
          !absl::SimpleHexAtoi(hex, &code)) {
        return Fault();
      }
    } else if (c == 'N') {
      return absl::InvalidArgumentError("names of characters (\\N) are not supported");
    } else {
      text->push_back('\\');
      rest_.remove_prefix(1);
      return absl::OkStatus();
    }
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
      return absl::InvalidArgumentError("an escape that is no character");
    }
    AppendCharacter(code, text);
    rest_.remove_prefix(size);
    return absl::OkStatus();
  }

  absl::string_view rest_;
  int depth_ = 0;
};

}  // namespace

absl::StatusOr<Value> ParsePythonLiteral(absl::string_view text) {
  return LiteralParser(text).Run();
}

}  // namespace wyvern
