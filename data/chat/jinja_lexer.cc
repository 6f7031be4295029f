#include "data/chat/jinja_lexer.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "kernels/runtime/status.h"

namespace wyvern::jinja {
namespace {

// The characters of str.isspace, in UTF-8.
constexpr absl::string_view kSpaces[] = {
    "\t",           "\n",           "\v",           "\f",           "\r",
    "\x1c",         "\x1d",         "\x1e",         "\x1f",         " ",
    "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81",
    "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86",
    "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8",
    "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};

void AppendCodePoint(uint32_t c, std::string* out) {
  if (c < 0x80) {
    out->push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out->push_back(static_cast<char>(0xc0 | (c >> 6)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else if (c < 0x10000) {
    out->push_back(static_cast<char>(0xe0 | (c >> 12)));
    out->push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else {
    out->push_back(static_cast<char>(0xf0 | (c >> 18)));
    out->push_back(static_cast<char>(0x80 | ((c >> 12) & 0x3f)));
    out->push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  }
}

bool IsNameStart(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }
bool IsNamePart(char c) { return IsNameStart(c) || IsDigit(c); }

class Lexer {
 public:
  Lexer(std::string source, const std::string& origin, bool trims)
      : source_(std::move(source)), origin_(origin), trims_(trims) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (at_ < source_.size()) RETURN_IF_ERROR(TextAndTag());
    Add(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  absl::Status Fault(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(origin_, ":", line_, ": ", what));
  }
  absl::string_view Rest() const { return absl::string_view(source_).substr(at_); }
  void Advance(size_t bytes) {
    line_ +=
        static_cast<int>(std::count(source_.begin() + static_cast<int64_t>(at_),
                                    source_.begin() + static_cast<int64_t>(at_ + bytes), '\n'));
    at_ += bytes;
    line_starting_ = bytes > 0 ? source_[at_ - 1] == '\n' : line_starting_;
  }
  void AdvanceBehindSpace() { Advance(Rest().size() - StripFront(Rest()).size()); }
  void Add(Token::Kind kind, std::string text) {
    tokens_.push_back({kind, std::move(text), Value(), line_});
  }
  void AddText(absl::string_view text) {
    if (!text.empty()) Add(Token::Kind::kText, std::string(text));
  }

  // The text before a delimiter that is followed by `sign`.
  absl::string_view CutText(absl::string_view text, char sign, bool is_print) const {
    if (sign == '-') return StripBack(text);
    if (sign == '+' || is_print || !trims_) return text;
    const size_t newline = text.rfind('\n');
    const size_t line = newline == absl::string_view::npos ? 0 : newline + 1;
    if (line == 0 && !line_starting_) return text;
    return StripFront(text.substr(line)).empty() ? text.substr(0, line) : text;
  }

  // A text, and the tag, the comment or the printed expression behind it.
  absl::Status TextAndTag() {
    const absl::string_view rest = Rest();
    size_t open = 0;
    while (true) {
      open = rest.find('{', open);
      if (open == absl::string_view::npos) {
        AddText(rest);
        Advance(rest.size());
        return absl::OkStatus();
      }
      if (open + 1 < rest.size() && absl::StrContains("%{#", rest[open + 1])) break;
      ++open;
    }
    const char type = rest[open + 1];
    const char next = open + 2 < rest.size() ? rest[open + 2] : ' ';
    const char sign = next == '-' || next == '+' ? next : ' ';
    const bool is_print = type == '{';
    AddText(CutText(rest.substr(0, open), sign, is_print));
    Advance(open + (sign == ' ' ? 2 : 3));
    if (type == '#') return Comment();
    if (type == '%') {
      absl::string_view inside = StripFront(Rest());
      if (absl::ConsumePrefix(&inside, "raw")) {
        inside = StripFront(inside);
        if (absl::StartsWith(inside, "%}") || absl::StartsWith(inside, "-%}")) {
          Advance(Rest().size() - inside.size());
          return Raw();
        }
      }
    }
    Add(is_print ? Token::Kind::kPrintBegin : Token::Kind::kBlockBegin, "");
    return Tag(is_print);
  }

  absl::Status Comment() {
    const size_t end = Rest().find("#}");
    if (end == absl::string_view::npos) return Fault("the comment does not end");
    const char sign = end > 0 ? Rest()[end - 1] : ' ';
    Advance(end + 2);
    TrimBehindTag(sign);
    return absl::OkStatus();
  }

  // Whitespace behind a tag or comment whose end has this sign.
  void TrimBehindTag(char sign) {
    if (sign == '-') {
      AdvanceBehindSpace();
    } else if (sign != '+' && trims_ && absl::StartsWith(Rest(), "\n")) {
      Advance(1);
    }
  }

  // Text up to {% endraw %}, behind {% raw.
  absl::Status Raw() {
    const bool strip = Rest()[0] == '-';
    Advance(strip ? 3 : 2);
    if (strip) AdvanceBehindSpace();
    size_t open = 0;
    while ((open = Rest().find("{%", open)) != absl::string_view::npos) {
      absl::string_view inside = Rest().substr(open + 2);
      const char before =
          !inside.empty() && (inside[0] == '-' || inside[0] == '+') ? inside[0] : ' ';
      if (before != ' ') inside.remove_prefix(1);
      inside = StripFront(inside);
      if (absl::ConsumePrefix(&inside, "endraw")) {
        inside = StripFront(inside);
        const char after =
            !inside.empty() && (inside[0] == '-' || inside[0] == '+') ? inside[0] : ' ';
        if (after != ' ') inside.remove_prefix(1);
        if (absl::ConsumePrefix(&inside, "%}")) {
          AddText(CutText(Rest().substr(0, open), before, /*is_print=*/false));
          Advance(Rest().size() - inside.size());
          TrimBehindTag(after);
          return absl::OkStatus();
        }
      }
      open += 2;
    }
    return Fault("{% raw %} has no {% endraw %}");
  }

  // The tokens up to the end of a tag, and that.
  absl::Status Tag(bool is_print) {
    const char* const name = is_print ? "}}" : "%}";
    std::string brackets;  // those that are open
    while (true) {
      AdvanceBehindSpace();
      const absl::string_view rest = Rest();
      if (rest.empty()) return Fault(absl::StrCat("expected '", name, "' before the end"));
      if (brackets.empty()) {
        const char sign = rest[0] == '-' || (rest[0] == '+' && !is_print) ? rest[0] : ' ';
        const absl::string_view end = sign == ' ' ? rest : rest.substr(1);
        if (absl::StartsWith(end, name)) {
          Add(is_print ? Token::Kind::kPrintEnd : Token::Kind::kBlockEnd, "");
          Advance(sign == ' ' ? 2 : 3);
          if (!is_print || sign == '-') TrimBehindTag(sign);
          return absl::OkStatus();
        }
      }
      if (IsNameStart(rest[0])) {
        size_t length = 1;
        while (length < rest.size() && IsNamePart(rest[length])) ++length;
        Add(Token::Kind::kName, std::string(rest.substr(0, length)));
        Advance(length);
      } else if (IsDigit(rest[0])) {
        RETURN_IF_ERROR(Number());
      } else if (rest[0] == '\'' || rest[0] == '"') {
        RETURN_IF_ERROR(String());
      } else {
        RETURN_IF_ERROR(Operator(&brackets));
      }
    }
  }

  absl::Status Number() {
    const absl::string_view rest = Rest();
    size_t end = 0;
    const auto digits = [&] {
      while (end < rest.size() &&
             (IsDigit(rest[end]) || (rest[end] == '_' && end > 0 && IsDigit(rest[end - 1]) &&
                                     end + 1 < rest.size() && IsDigit(rest[end + 1])))) {
        ++end;
      }
    };
    digits();
    bool real = false;
    if (end + 1 < rest.size() && rest[end] == '.' && IsDigit(rest[end + 1])) {
      real = true;
      ++end;
      digits();
    }
    if (end + 1 < rest.size() && (rest[end] == 'e' || rest[end] == 'E')) {
      size_t exponent = end + 1;
      if (exponent + 1 < rest.size() && (rest[exponent] == '+' || rest[exponent] == '-'))
        ++exponent;
      if (exponent < rest.size() && IsDigit(rest[exponent])) {
        real = true;
        end = exponent;
        digits();
      }
    }
    const std::string text = absl::StrReplaceAll(rest.substr(0, end), {{"_", ""}});
    if (end < rest.size() && IsNameStart(rest[end])) {
      return Fault(absl::StrCat("unexpected '", rest.substr(end, 1), "' behind the number ", text));
    }
    Token token{Token::Kind::kNumber, text, Value(), line_};
    double number = 0;
    int64_t integer = 0;
    if (real) {
      if (!absl::SimpleAtod(text, &number)) return Fault(absl::StrCat("not a number: ", text));
      token.number = Value::Float(number);
    } else {
      if (text.size() > 1 && text[0] == '0' && text.find_first_not_of('0') != std::string::npos) {
        return Fault(absl::StrCat("the number ", text, " begins with 0"));
      }
      if (!absl::SimpleAtoi(text, &integer)) {
        return Fault(absl::StrCat("the number ", text, " is too large"));
      }
      token.number = Value::Int(integer);
    }
    tokens_.push_back(std::move(token));
    Advance(end);
    return absl::OkStatus();
  }

  absl::Status String() {
    const absl::string_view rest = Rest();
    std::string value;
    size_t i = 1;
    while (i < rest.size() && rest[i] != rest[0]) {
      if (rest[i] != '\\') {
        value.push_back(rest[i++]);
        continue;
      }
      if (i + 1 >= rest.size()) break;
      RETURN_IF_ERROR(Escape(rest, &i, &value));
    }
    if (i >= rest.size()) return Fault("the string does not end");
    Add(Token::Kind::kString, std::move(value));
    Advance(i + 1);
    return absl::OkStatus();
  }

  // The escape at text[*i], which is a backslash with a character behind it.
  absl::Status Escape(absl::string_view text, size_t* i, std::string* value) {
    static constexpr absl::string_view kFrom = "\\'\"abfnrtv", kTo = "\\'\"\a\b\f\n\r\t\v";
    const char c = text[*i + 1];
    *i += 2;
    const size_t simple = kFrom.find(c);
    if (simple != absl::string_view::npos) {
      value->push_back(kTo[simple]);
      return absl::OkStatus();
    }
    if (c == '\n') return absl::OkStatus();
    uint32_t code = 0;
    if (c >= '0' && c <= '7') {
      --*i;
      for (int n = 0; n < 3 && *i < text.size() && text[*i] >= '0' && text[*i] <= '7'; ++n) {
        code = code * 8 + static_cast<uint32_t>(text[(*i)++] - '0');
      }
      AppendCodePoint(code, value);
      return absl::OkStatus();
    }
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (c == 'N') return Fault("\\N{...} in a string is not supported");
    if (digits == 0) {  // not an escape
      value->push_back('\\');
      value->push_back(c);
      return absl::OkStatus();
    }
    const absl::string_view hex = text.substr(*i, digits);
    if (hex.size() < digits || !absl::SimpleHexAtoi(hex, &code) ||
        hex.find_first_not_of("0123456789abcdefABCDEF") != absl::string_view::npos ||
        code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
      return Fault(absl::StrCat("\\", std::string(1, c), hex, " in a string is no character"));
    }
    AppendCodePoint(code, value);
    *i += digits;
    return absl::OkStatus();
  }

  absl::Status Operator(std::string* brackets) {
    static constexpr absl::string_view kOperators[] = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const absl::string_view rest = Rest();
    for (const absl::string_view name : kOperators) {
      if (!absl::StartsWith(rest, name)) continue;
      if (name == "(" || name == "[" || name == "{") {
        brackets->push_back(name == "(" ? ')' : name == "[" ? ']' : '}');
      } else if (name == ")" || name == "]" || name == "}") {
        if (brackets->empty() || brackets->back() != name[0]) {
          return Fault(absl::StrCat("unexpected '", name, "'"));
        }
        brackets->pop_back();
      }
      Add(Token::Kind::kOperator, std::string(name));
      Advance(name.size());
      return absl::OkStatus();
    }
    return Fault(absl::StrCat("unexpected '", Characters(rest.substr(0, 4)).front(), "'"));
  }

  const std::string source_;
  const std::string& origin_;
  const bool trims_;  // a block takes the white space of its line along
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // the last byte that was taken ends a line, or none was
};

}  // namespace

absl::string_view StripFront(absl::string_view text) {
  while (true) {
    const auto* found =
        std::find_if(std::begin(kSpaces), std::end(kSpaces),
                     [&](absl::string_view space) { return absl::StartsWith(text, space); });
    if (found == std::end(kSpaces)) return text;
    text.remove_prefix(found->size());
  }
}

absl::string_view StripBack(absl::string_view text) {
  while (true) {
    const auto* found =
        std::find_if(std::begin(kSpaces), std::end(kSpaces),
                     [&](absl::string_view space) { return absl::EndsWith(text, space); });
    if (found == std::end(kSpaces)) return text;
    text.remove_suffix(found->size());
  }
}

absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source, const std::string& origin,
                                            JinjaEnvironment environment) {
  const bool is_chat = environment == JinjaEnvironment::kChat;
  std::string text = absl::StrReplaceAll(source, {{"\r\n", "\n"}, {"\r", "\n"}});
  if (is_chat && absl::EndsWith(text, "\n")) text.pop_back();
  return Lexer(std::move(text), origin, /*trims=*/is_chat).Run();
}

}  // namespace wyvern::jinja
