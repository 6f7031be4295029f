#include "data/tokenizer/token_decoder.h"

#include <initializer_list>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "data/tokenizer/byte_characters.h"
#include "data/tokenizer/code_points.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

class ReadBytes final : public TokenDecoder {
 public:
  void Apply(std::vector<std::string>* tokens) const override {
    std::string text;
    for (const std::string& token : *tokens) {
      text += BytesOfCharacters(token).value_or(token);  // an added token may be in plain text
    }
    *tokens = {std::move(text)};
  }
};

// <0x41> is the byte 0x41.
class ReadFallback final : public TokenDecoder {
 public:
  void Apply(std::vector<std::string>* tokens) const override {
    for (std::string& token : *tokens) {
      uint32_t byte;
      if (token.size() == 6 && absl::StartsWith(token, "<0x") && token[5] == '>' &&
          absl::ascii_isxdigit(static_cast<unsigned char>(token[3])) &&
          absl::SimpleHexAtoi(token.substr(3, 2), &byte)) {
        token = std::string(1, static_cast<char>(byte));
      }
    }
  }
};

class Fuse final : public TokenDecoder {
 public:
  void Apply(std::vector<std::string>* tokens) const override {
    *tokens = {absl::StrJoin(*tokens, "")};
  }
};

class StripEnds final : public TokenDecoder {
 public:
  StripEnds(std::string content, int64_t start, int64_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  void Apply(std::vector<std::string>* tokens) const override {
    for (std::string& token : *tokens) {
      absl::string_view rest = token;
      for (int64_t i = 0; i < start_ && absl::StartsWith(rest, content_); ++i) {
        rest.remove_prefix(content_.size());
      }
      for (int64_t i = 0; i < stop_ && absl::EndsWith(rest, content_); ++i) {
        rest.remove_suffix(content_.size());
      }
      token = std::string(rest);
    }
  }

 private:
  const std::string content_;
  const int64_t start_, stop_;
};

class ReplaceText final : public TokenDecoder {
 public:
  ReplaceText(std::string text, std::string content)
      : text_(std::move(text)), content_(std::move(content)) {}
  void Apply(std::vector<std::string>* tokens) const override {
    for (std::string& token : *tokens) token = absl::StrReplaceAll(token, {{text_, content_}});
  }
  void AddNamed(std::set<uint32_t>* characters) const override {
    AddCharactersOf(text_, characters);
    AddCharactersOf(content_, characters);
  }
  void Bound(TextGrowth* growth) const override { growth->ReplaceText(text_, content_); }

 private:
  const std::string text_, content_;
};

class ReadSpaces final : public TokenDecoder {
 public:
  ReadSpaces(std::string mark, bool prepends) : mark_(std::move(mark)), prepends_(prepends) {}
  void Apply(std::vector<std::string>* tokens) const override {
    for (size_t i = 0; i < tokens->size(); ++i) {
      (*tokens)[i] = absl::StrReplaceAll((*tokens)[i], {{mark_, i == 0 && prepends_ ? "" : " "}});
    }
  }

 private:
  const std::string mark_;
  const bool prepends_;
};

class JoinWordPieces final : public TokenDecoder {
 public:
  JoinWordPieces(std::string prefix, bool cleanup)
      : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  void Bound(TextGrowth* growth) const override { growth->Rewrite(2); }  // a space for each token
  void Apply(std::vector<std::string>* tokens) const override {
    for (size_t i = 0; i < tokens->size(); ++i) {
      std::string& token = (*tokens)[i];
      if (i > 0 && absl::StartsWith(token, prefix_)) {
        token.erase(0, prefix_.size());
      } else if (i > 0) {
        token = absl::StrCat(" ", token);
      }
      if (!cleanup_) continue;
      for (const auto& [from, to] :
           std::initializer_list<std::pair<const char*, const char*>>{{" .", "."},
                                                                      {" ?", "?"},
                                                                      {" !", "!"},
                                                                      {" ,", ","},
                                                                      {" ' ", "'"},
                                                                      {" n't", "n't"},
                                                                      {" 'm", "'m"},
                                                                      {" do not", " don't"},
                                                                      {" 's", "'s"},
                                                                      {" 've", "'ve"},
                                                                      {" 're", "'re"}}) {
        token = absl::StrReplaceAll(token, {{from, to}});
      }
    }
  }

 private:
  const std::string prefix_;
  const bool cleanup_;
};

class ReadSuffix final : public TokenDecoder {
 public:
  explicit ReadSuffix(std::string suffix) : suffix_(std::move(suffix)) {}
  void Apply(std::vector<std::string>* tokens) const override {
    for (size_t i = 0; i < tokens->size(); ++i) {
      const char* const space = i + 1 == tokens->size() ? "" : " ";
      (*tokens)[i] = absl::StrReplaceAll((*tokens)[i], {{suffix_, space}});
    }
  }

 private:
  const std::string suffix_;
};

class Reader {
 public:
  absl::StatusOr<TokenDecoding> Read(const JsonPart& part) {
    made_.joins_with_spaces = part.is_null();
    if (!part.is_null()) RETURN_IF_ERROR(Add(part));
    RETURN_IF_ERROR(CheckGrowth(part));
    return std::move(made_);
  }

 private:
  absl::Status CheckGrowth(const JsonPart& part) const {
    if (made_.steps.size() > kMaxTextSteps) {
      return part.Error(
          absl::StrCat(made_.steps.size(), " steps; Wyvern takes at most ", kMaxTextSteps));
    }
    std::set<uint32_t> named;
    for (const auto& step : made_.steps) step->AddNamed(&named);
    TextGrowth growth(named);
    for (auto step = made_.steps.rbegin(); step != made_.steps.rend(); ++step) {
      (*step)->Bound(&growth);
    }
    if (growth.most() <= kMaxTextGrowth) return absl::OkStatus();
    return part.Error(absl::StrCat("its steps can make a text ", growth.most(),
                                   " times as long; Wyvern takes at most ", kMaxTextGrowth));
  }

  template <typename Step, typename... Arguments>
  absl::Status AddStep(Arguments&&... arguments) {
    made_.steps.push_back(std::make_unique<Step>(std::forward<Arguments>(arguments)...));
    return absl::OkStatus();
  }

  absl::Status Add(const JsonPart& part) {
    ASSIGN_OR_RETURN(const std::string type, part.At("type").Text());
    if (type == "Sequence") {
      RETURN_IF_ERROR(part.CheckKeys({"decoders"}));
      ASSIGN_OR_RETURN(const size_t size, part.At("decoders").ListSize());
      for (size_t i = 0; i < size; ++i) RETURN_IF_ERROR(Add(part.At("decoders").At(i)));
      return absl::OkStatus();
    }
    if (type == "ByteLevel") {
      RETURN_IF_ERROR(part.CheckKeys({"add_prefix_space", "trim_offsets", "use_regex"}));
      return AddStep<ReadBytes>();
    }
    if (type == "ByteFallback") {
      RETURN_IF_ERROR(part.CheckKeys({}));
      return AddStep<ReadFallback>();
    }
    if (type == "Fuse") {
      RETURN_IF_ERROR(part.CheckKeys({}));
      return AddStep<Fuse>();
    }
    if (type == "Strip") {
      RETURN_IF_ERROR(part.CheckKeys({"content", "start", "stop"}));
      ASSIGN_OR_RETURN(const uint32_t c, part.At("content").Character());
      ASSIGN_OR_RETURN(const int64_t start, part.At("start").Count());
      ASSIGN_OR_RETURN(const int64_t stop, part.At("stop").Count());
      std::string content;
      AppendCharacter(c, &content);
      return AddStep<StripEnds>(std::move(content), start, stop);
    }
    if (type == "Replace") return AddReplace(part);
    if (type == "Metaspace") {
      RETURN_IF_ERROR(part.CheckKeys(
          {"replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"}));
      ASSIGN_OR_RETURN(const uint32_t c, part.At("replacement").Character());
      ASSIGN_OR_RETURN(const bool add_prefix, part.At("add_prefix_space").Bool(/*if_null=*/true));
      const bool never = part.At("prepend_scheme").value() == "never" || !add_prefix;
      std::string mark;
      AppendCharacter(c, &mark);
      return AddStep<ReadSpaces>(std::move(mark), !never);
    }
    if (type == "WordPiece") {
      RETURN_IF_ERROR(part.CheckKeys({"prefix", "cleanup"}));
      ASSIGN_OR_RETURN(std::string prefix, part.At("prefix").Text());
      ASSIGN_OR_RETURN(const bool cleanup, part.At("cleanup").Bool());
      return AddStep<JoinWordPieces>(std::move(prefix), cleanup);
    }
    if (type == "BPEDecoder") {
      RETURN_IF_ERROR(part.CheckKeys({"suffix"}));
      ASSIGN_OR_RETURN(std::string suffix, part.At("suffix").Text());
      if (suffix.empty()) return part.At("suffix").Expected("a text that is not empty");
      return AddStep<ReadSuffix>(std::move(suffix));
    }
    return part.At("type").Error(absl::StrCat(
        "Wyvern has no decoder '", type,
        "'; it has Sequence, ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace, WordPiece "
        "and BPEDecoder"));
  }

  absl::Status AddReplace(const JsonPart& part) {
    RETURN_IF_ERROR(part.CheckKeys({"pattern", "content"}));
    RETURN_IF_ERROR(part.At("pattern").CheckKeys({"String"}));
    ASSIGN_OR_RETURN(std::string content, part.At("content").Text());
    ASSIGN_OR_RETURN(const std::string text, part.At("pattern").At("String").Text());
    if (text.empty()) return part.At("pattern").Expected("a text that is not empty");
    return AddStep<ReplaceText>(text, std::move(content));
  }

  TokenDecoding made_;
};

}  // namespace

absl::StatusOr<TokenDecoding> MakeTokenDecoding(const JsonPart& part) {
  return Reader().Read(part);
}

TokenDecoding DecodeBytes() {
  TokenDecoding made;
  made.steps.push_back(std::make_unique<ReadBytes>());
  return made;
}

}  // namespace wyvern
