// A place among the tokens of a chat template, for its parser.
#ifndef WYVERN_DATA_CHAT_JINJA_CURSOR_H_
#define WYVERN_DATA_CHAT_JINJA_CURSOR_H_

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "data/chat/jinja_lexer.h"

namespace wyvern::jinja {

class Cursor {
 protected:
  Cursor(std::vector<Token> tokens, const std::string& origin)
      : tokens_(std::move(tokens)), origin_(origin) {}

  using Kind = Token::Kind;
  // Counts one level more while it lives, for the stack's sake.
  class Depth {
   public:
    explicit Depth(int* depth) : depth_(depth) { ++*depth_; }
    ~Depth() { --*depth_; }

   private:
    int* depth_;
  };
  static constexpr int kMaxDepth = 200;

  const Token& Now() const { return tokens_[at_]; }
  const Token& Later() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  void Skip() { at_ = std::min(at_ + 1, tokens_.size() - 1); }
  bool Is(Kind kind, absl::string_view text) const {
    return Now().kind == kind && Now().text == text;
  }
  bool IsOperator(absl::string_view text) const { return Is(Kind::kOperator, text); }
  bool IsName(absl::string_view text) const { return Is(Kind::kName, text); }
  bool Take(Kind kind, absl::string_view text) {
    if (!Is(kind, text)) return false;
    Skip();
    return true;
  }
  bool TakeOperator(absl::string_view text) { return Take(Kind::kOperator, text); }
  bool TakeName(absl::string_view text) { return Take(Kind::kName, text); }

  absl::Status Fault(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(origin_, ":", Now().line, ": ", what));
  }
  absl::Status Unexpected(absl::string_view expected) const {
    std::string found = absl::StrCat("'", Now().text, "'");
    if (Now().kind == Kind::kBlockEnd) found = "'%}'";
    if (Now().kind == Kind::kPrintEnd) found = "'}}'";
    if (Now().kind == Kind::kEnd) found = "the template's end";
    if (Now().kind == Kind::kString) found = "a string";
    return Fault(absl::StrCat("expected ", expected, ", found ", found));
  }
  absl::Status Expect(absl::string_view name) {
    return TakeOperator(name) ? absl::OkStatus() : Unexpected(absl::StrCat("'", name, "'"));
  }
  absl::Status ExpectBlockEnd() {
    if (Now().kind != Kind::kBlockEnd) return Unexpected("'%}'");
    Skip();
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> ExpectName() {
    if (Now().kind != Kind::kName) return Unexpected("a name");
    std::string name = Now().text;
    Skip();
    return name;
  }
  absl::Status CheckDepth() const {
    if (depth_ <= kMaxDepth) return absl::OkStatus();
    return Fault(absl::StrCat("nested more than ", kMaxDepth, " levels deep"));
  }

 private:
  const std::vector<Token> tokens_;
  const std::string& origin_;
  size_t at_ = 0;

 protected:
  int depth_ = 0;  // levels around the place
};

}  // namespace wyvern::jinja

#endif  // WYVERN_DATA_CHAT_JINJA_CURSOR_H_
