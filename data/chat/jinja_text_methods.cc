#include "data/chat/jinja_text_methods.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/chat/jinja_arguments.h"
#include "data/chat/jinja_builtins.h"
#include "data/chat/jinja_lexer.h"
#include "data/io/utf8.h"
#include "kernels/runtime/status.h"

namespace wyvern::jinja {
namespace {

using Result = absl::StatusOr<Value>;
using Method = Result (*)(const std::string& text, const Arguments& arguments);

bool IsSpaceAt(absl::string_view text) { return StripFront(text).size() < text.size(); }

template <Case to>
Result CaseMethod(const std::string& text, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind("the method of case", arguments, {}).status());
  ASSIGN_OR_RETURN(std::string changed, ChangeCase(text, to));
  return Value::Text(std::move(changed));
}

template <Side side>
Result StripMethod(const std::string& text, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind("strip", arguments, {"chars"}));
  if (!bound.HasValue(0)) return Value::Text(Strip(text, nullptr, side));
  ASSIGN_OR_RETURN(const std::string chars, bound.Text(0, ""));
  return Value::Text(Strip(text, &chars, side));
}

// Runs of whitespace divide; none is left at the ends.
List SplitSpace(absl::string_view text, int64_t max_splits) {
  List parts;
  text = StripFront(text);
  while (!text.empty()) {
    if (max_splits >= 0 && static_cast<int64_t>(parts.size()) == max_splits) {
      parts.push_back(Value::Text(std::string(text)));
      break;
    }
    size_t end = 0;
    while (end < text.size() && !IsSpaceAt(text.substr(end))) ++end;
    parts.push_back(Value::Text(std::string(text.substr(0, end))));
    text = StripFront(text.substr(end));
  }
  return parts;
}

Result Split(const std::string& text, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("split", arguments, {"sep", "maxsplit"}));
  ASSIGN_OR_RETURN(const int64_t max_splits, bound.Int(1, -1));
  if (!bound.HasValue(0)) return Value::OfList(SplitSpace(text, max_splits));
  ASSIGN_OR_RETURN(const std::string separator, bound.Text(0, ""));
  if (separator.empty()) return absl::InvalidArgumentError("split: the separator is empty");
  List parts;
  size_t begin = 0;
  while (max_splits < 0 || static_cast<int64_t>(parts.size()) < max_splits) {
    const size_t found = text.find(separator, begin);
    if (found == std::string::npos) break;
    parts.push_back(Value::Text(text.substr(begin, found - begin)));
    begin = found + separator.size();
  }
  parts.push_back(Value::Text(text.substr(begin)));
  return Value::OfList(std::move(parts));
}

Result SplitFromBack(const std::string& text, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("rsplit", arguments, {"sep", "maxsplit"}));
  ASSIGN_OR_RETURN(const int64_t max_splits, bound.Int(1, -1));
  ASSIGN_OR_RETURN(const std::string separator, bound.Text(0, ""));
  if (separator.empty()) {
    return absl::InvalidArgumentError("rsplit: is supported with a separator only");
  }
  List parts;
  size_t end = text.size();
  while (max_splits < 0 || static_cast<int64_t>(parts.size()) < max_splits) {
    if (end < separator.size()) break;
    const size_t found = text.rfind(separator, end - separator.size());
    if (found == std::string::npos) break;
    const size_t begin = found + separator.size();
    parts.push_back(Value::Text(text.substr(begin, end - begin)));
    end = found;
  }
  parts.push_back(Value::Text(text.substr(0, end)));
  std::reverse(parts.begin(), parts.end());
  return Value::OfList(std::move(parts));
}

Result SplitLinesMethod(const std::string& text, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("splitlines", arguments, {"keepends"}));
  List lines;
  for (std::string& line : SplitLines(text, bound.Truth(0, false))) {
    lines.push_back(Value::Text(std::move(line)));
  }
  return Value::OfList(std::move(lines));
}

template <bool at_front>
Result HasAffix(const std::string& text, const Arguments& arguments) {
  const std::string name = at_front ? "startswith" : "endswith";
  ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind(name, arguments, {"affix"}, 1));
  const auto matches = [&](const std::string& affix) {
    return at_front ? absl::StartsWith(text, affix) : absl::EndsWith(text, affix);
  };
  if (!bound[0].is_tuple()) {
    if (bound[0].as_text() == nullptr) return bound.Expected(0, "a string or a tuple of them");
    return Value::Bool(matches(*bound[0].as_text()));
  }
  for (const Value& affix : bound[0].as_sequence()->items) {
    if (affix.as_text() == nullptr) return bound.Expected(0, "a tuple of strings");
    if (matches(*affix.as_text())) return Value::Bool(true);
  }
  return Value::Bool(false);
}

Result Replace(const std::string& text, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("replace", arguments, {"old", "new", "count"}, 2));
  ASSIGN_OR_RETURN(const std::string from, bound.Text(0, ""));
  ASSIGN_OR_RETURN(const std::string to, bound.Text(1, ""));
  ASSIGN_OR_RETURN(const int64_t count, bound.Int(2, -1));
  ASSIGN_OR_RETURN(std::string replaced, ReplaceText(text, from, to, count));
  return Value::Text(std::move(replaced));
}

template <bool from_front>
Result Find(const std::string& text, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound, BoundArguments::Bind("find", arguments, {"sub"}, 1));
  ASSIGN_OR_RETURN(const std::string sub, bound.Text(0, ""));
  const size_t found = from_front ? text.find(sub) : text.rfind(sub);
  if (found == std::string::npos) return Value::Int(-1);
  return Value::Int(CountCharacters(absl::string_view(text).substr(0, found)));
}

Result Count(const std::string& text, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("count", arguments, {"sub"}, 1));
  ASSIGN_OR_RETURN(const std::string sub, bound.Text(0, ""));
  if (sub.empty()) return Value::Int(CountCharacters(text) + 1);
  int64_t count = 0;
  for (size_t at = 0; (at = text.find(sub, at)) != std::string::npos; at += sub.size()) ++count;
  return Value::Int(count);
}

Result Join(const std::string& text, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const BoundArguments bound,
                   BoundArguments::Bind("join", arguments, {"iterable"}, 1));
  ASSIGN_OR_RETURN(const List items, Elements(bound[0]));
  std::string joined;
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].as_text() == nullptr) return bound.Expected(0, "strings");
    absl::StrAppend(&joined, i > 0 ? text : "", *items[i].as_text());
    if (joined.size() > kMaxTextBytes) break;
  }
  return BoundedText(std::move(joined));
}

template <bool at_front>
Result RemoveAffix(const std::string& text, const Arguments& arguments) {
  ASSIGN_OR_RETURN(
      const BoundArguments bound,
      BoundArguments::Bind(at_front ? "removeprefix" : "removesuffix", arguments, {"affix"}, 1));
  ASSIGN_OR_RETURN(const std::string affix, bound.Text(0, ""));
  if (at_front && absl::StartsWith(text, affix)) return Value::Text(text.substr(affix.size()));
  if (!at_front && absl::EndsWith(text, affix)) {
    return Value::Text(text.substr(0, text.size() - affix.size()));
  }
  return Value::Text(text);
}

Result IsDigits(const std::string& text, const Arguments& arguments) {
  RETURN_IF_ERROR(BoundArguments::Bind("isdigit", arguments, {}).status());
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) {
      return absl::InvalidArgumentError("isdigit: is supported for ASCII only");
    }
  }
  return Value::Bool(!text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c));
  }));
}

const std::map<std::string, Method>& Methods() {
  static const auto* methods = new std::map<std::string, Method>{
      {"capitalize", CaseMethod<Case::kCapitalize>},
      {"count", Count},
      {"endswith", HasAffix<false>},
      {"find", Find<true>},
      {"isdigit", IsDigits},
      {"join", Join},
      {"lower", CaseMethod<Case::kLower>},
      {"lstrip", StripMethod<Side::kFront>},
      {"removeprefix", RemoveAffix<true>},
      {"removesuffix", RemoveAffix<false>},
      {"replace", Replace},
      {"rfind", Find<false>},
      {"rsplit", SplitFromBack},
      {"rstrip", StripMethod<Side::kBack>},
      {"split", Split},
      {"splitlines", SplitLinesMethod},
      {"startswith", HasAffix<true>},
      {"strip", StripMethod<Side::kBoth>},
      {"title", CaseMethod<Case::kTitle>},
      {"upper", CaseMethod<Case::kUpper>},
  };
  return *methods;
}

constexpr absl::string_view kOtherMethods[] = {
    "casefold",    "center",  "encode",     "expandtabs", "format",       "format_map", "index",
    "isalnum",     "isalpha", "isascii",    "isdecimal",  "isidentifier", "islower",    "isnumeric",
    "isprintable", "isspace", "istitle",    "isupper",    "ljust",        "maketrans",  "partition",
    "rindex",      "rjust",   "rpartition", "swapcase",   "translate",    "zfill"};

}  // namespace

absl::StatusOr<std::string> ChangeCase(absl::string_view text, Case to) {
  std::string changed(text);
  bool after_letter = false;
  for (size_t i = 0; i < changed.size(); ++i) {
    const auto c = static_cast<unsigned char>(changed[i]);
    if (c >= 0x80) {
      return absl::InvalidArgumentError(
          "upper, lower, title and capitalize are supported for ASCII only");
    }
    const bool upper = to == Case::kUpper || (to == Case::kTitle && !after_letter) ||
                       (to == Case::kCapitalize && i == 0);
    changed[i] = static_cast<char>(upper ? absl::ascii_toupper(c) : absl::ascii_tolower(c));
    after_letter = absl::ascii_isalpha(c);
  }
  return changed;
}

std::string Strip(absl::string_view text, const std::string* chars, Side side) {
  if (chars == nullptr) {
    if (side != Side::kBack) text = StripFront(text);
    if (side != Side::kFront) text = StripBack(text);
    return std::string(text);
  }
  const std::vector<std::string> stripped = Characters(*chars);
  const std::vector<std::string> all = Characters(text);
  const auto is_kept = [&](const std::string& c) {
    return std::find(stripped.begin(), stripped.end(), c) == stripped.end();
  };
  auto begin = all.begin();
  auto end = all.end();
  if (side != Side::kBack) begin = std::find_if(begin, end, is_kept);
  if (side != Side::kFront) {
    end = std::find_if(all.rbegin(), std::make_reverse_iterator(begin), is_kept).base();
  }
  std::string result;
  for (auto c = begin; c != end; ++c) result += *c;
  return result;
}

std::vector<std::string> SplitLines(absl::string_view text, bool keep_ends) {
  static constexpr absl::string_view kEnds[] = {"\r\n",     "\n",           "\r",          "\v",
                                                "\f",       "\x1c",         "\x1d",        "\x1e",
                                                "\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9"};
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const auto* end = std::find_if(std::begin(kEnds), std::end(kEnds), [&](absl::string_view e) {
      return absl::StartsWith(text.substr(i), e);
    });
    if (end == std::end(kEnds)) {
      ++i;
      continue;
    }
    lines.emplace_back(text.substr(begin, i - begin + (keep_ends ? end->size() : 0)));
    i += end->size();
    begin = i;
  }
  if (begin < text.size()) lines.emplace_back(text.substr(begin));
  return lines;
}

absl::StatusOr<std::string> ReplaceText(absl::string_view text, absl::string_view from,
                                        absl::string_view to, int64_t count) {
  std::string replaced;
  const auto too_long = [&] { return replaced.size() > kMaxTextBytes; };
  if (from.empty()) {  // before every character, and at the end
    for (const std::string& c : Characters(text)) {
      if (count != 0) absl::StrAppend(&replaced, to);
      if (count > 0) --count;
      replaced += c;
      if (too_long()) break;
    }
    if (count != 0) absl::StrAppend(&replaced, to);
  } else {
    size_t begin = 0;
    for (; count != 0 && !too_long(); --count) {
      const size_t found = text.find(from, begin);
      if (found == absl::string_view::npos) break;
      absl::StrAppend(&replaced, text.substr(begin, found - begin), to);
      begin = found + from.size();
    }
    absl::StrAppend(&replaced, text.substr(begin));
  }
  if (too_long()) return BoundedText(std::move(replaced)).status();
  return replaced;
}

Value TextMethod(const Value& text, const std::string& name) {
  const auto found = Methods().find(name);
  if (found != Methods().end()) {
    const Method method = found->second;
    return Value::Of(Function{name, [text, method](const Arguments& arguments) {
                                return method(*text.as_text(), arguments);
                              }});
  }
  if (std::find(std::begin(kOtherMethods), std::end(kOtherMethods), name) !=
      std::end(kOtherMethods)) {
    return Value::Of(Function{name, [name](const Arguments&) -> Result {
                                return absl::InvalidArgumentError(
                                    absl::StrCat("the method str.", name, " is not supported"));
                              }});
  }
  return Value::Undefined(absl::StrCat("str object has no attribute '", name, "'"));
}

}  // namespace wyvern::jinja
