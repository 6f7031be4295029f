#include "data/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "data/tokenizer/code_points.h"
#include "data/tokenizer/lowercase.h"
#include "data/tokenizer/normal_form.h"
#include "data/tokenizer/pattern.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

class ToNormalForm final : public Normalizer {
 public:
  explicit ToNormalForm(NormalForm form) : form_(form) {}
  void Apply(std::string* text) const override {
    // Below U+0300 every character is composed already.
    if (form_ == NormalForm::kNfc) {
      bool composed = true;
      for (const char c : *text) composed = composed && static_cast<unsigned char>(c) < 0xCC;
      if (composed) return;
    }
    *text = Normalized(*text, form_);
  }
  void AddNamed(std::set<uint32_t>* characters) const override {
    std::string text;
    for (const uint32_t c : *characters) AppendCharacter(c, &text);
    for (const NormalForm form : {form_, NormalForm::kNfd}) {
      AddCharactersOf(Normalized(text, form), characters);
    }
  }
  void Bound(TextGrowth* growth) const override {
    if (form_ == NormalForm::kNfc || form_ == NormalForm::kNfkc) {
      growth->Join([](const std::string& c) { return Normalized(c, NormalForm::kNfd); });
    }
    growth->Map([this](const std::string& c) { return Normalized(c, form_); });
  }

 private:
  const NormalForm form_;
};

class ToLowercase final : public Normalizer {
 public:
  void Apply(std::string* text) const override { *text = Lowercase(*text); }
  void AddNamed(std::set<uint32_t>* characters) const override {
    std::string text;
    for (const uint32_t c : *characters) AppendCharacter(c, &text);
    AddCharactersOf(Lowercase(text), characters);
  }
  void Bound(TextGrowth* growth) const override { growth->Map(Lowercase); }
};

// Leaves out the characters of a set.
class Drop final : public Normalizer {
 public:
  explicit Drop(const CodePointSet& set) : set_(set) {}
  void Apply(std::string* text) const override {
    std::string kept;
    kept.reserve(text->size());
    for (size_t at = 0; at < text->size();) {
      int length;
      const uint32_t c = DecodeCharacter(text->data() + at, &length);
      if (!set_.Has(c)) kept.append(*text, at, static_cast<size_t>(length));
      at += static_cast<size_t>(length);
    }
    *text = std::move(kept);
  }
  bool may_remove_begin() const override { return true; }

 private:
  const CodePointTable set_;
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void Apply(std::string* text) const override {
    if (!text->empty()) text->insert(0, prefix_);
  }
  void AddNamed(std::set<uint32_t>* characters) const override {
    AddCharactersOf(prefix_, characters);
  }
  void Bound(TextGrowth* growth) const override { growth->Prepend(prefix_); }

 private:
  const std::string prefix_;
};

class Replace final : public Normalizer {
 public:
  // `literal`: the text that the pattern stands for, if it stands for one.
  Replace(Pattern pattern, std::string literal, std::string content)
      : pattern_(std::move(pattern)), literal_(std::move(literal)), content_(std::move(content)) {}
  void Apply(std::string* text) const override {
    if (text->empty()) return;  // as tokenizers, where an empty text has no matches
    std::string out;
    out.reserve(text->size());
    size_t done = 0;
    pattern_.FindAll(*text, [&](size_t begin, size_t end) {
      out.append(*text, done, begin - done);
      out.append(content_);
      done = end;
    });
    out.append(*text, done);
    *text = std::move(out);
  }
  bool may_remove_begin() const override { return content_.empty(); }
  void AddNamed(std::set<uint32_t>* characters) const override {
    AddCharactersOf(literal_, characters);
    AddCharactersOf(content_, characters);
  }
  void Bound(TextGrowth* growth) const override {
    if (literal_.empty()) {
      growth->ReplaceAny(pattern_.min_characters(), content_);
    } else {
      growth->ReplaceText(literal_, content_);
    }
  }

 private:
  const Pattern pattern_;
  const std::string literal_, content_;
};

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right), spaces_(UnicodeWhiteSpace()) {}
  void Apply(std::string* text) const override {
    size_t begin = 0, end = text->size();
    int length;
    while (left_ && begin < end && spaces_.Has(DecodeCharacter(text->data() + begin, &length))) {
      begin += static_cast<size_t>(length);
    }
    while (right_ && begin < end) {
      size_t last = end - 1;
      while ((static_cast<unsigned char>((*text)[last]) & 0xC0) == 0x80) --last;
      if (!spaces_.Has(DecodeCharacter(text->data() + last, &length))) break;
      end = last;
    }
    *text = text->substr(begin, end - begin);
  }
  bool may_remove_begin() const override { return left_; }

 private:
  const bool left_, right_;
  const CodePointTable spaces_;
};

// Combining marks of Unicode 9.0, whose categories of three characters differed.
CodePointSet Accents() {
  return UnicodeCategory("M")
      .Intersection(Unicode9())
      .Union(CodePointSet::Of({{0x1CF2, 0x1CF3}}))
      .Intersection(CodePointSet::Of({{0x111C9, 0x111C9}}).Complement());
}

class Reader {
 public:
  absl::StatusOr<std::vector<std::unique_ptr<Normalizer>>> Read(const JsonPart& part) {
    if (!part.is_null()) RETURN_IF_ERROR(Add(part));
    RETURN_IF_ERROR(CheckGrowth(part));
    return std::move(made_);
  }

 private:
  absl::Status CheckGrowth(const JsonPart& part) const {
    if (made_.size() > kMaxTextSteps) {
      return part.Error(absl::StrCat(made_.size(), " steps; Wyvern takes at most ", kMaxTextSteps));
    }
    // Each step may make characters that others name.
    std::set<uint32_t> named;
    size_t before;
    do {
      before = named.size();
      for (const auto& step : made_) step->AddNamed(&named);
    } while (named.size() > before);
    TextGrowth growth(named);
    for (auto step = made_.rbegin(); step != made_.rend(); ++step) (*step)->Bound(&growth);
    if (growth.most() <= kMaxTextGrowth) return absl::OkStatus();
    return part.Error(absl::StrCat("its steps can make a text ", growth.most(),
                                   " times as long; Wyvern takes at most ", kMaxTextGrowth));
  }

  absl::Status Add(const JsonPart& part) {
    ASSIGN_OR_RETURN(const std::string type, part.At("type").Text());
    if (type == "Sequence") {
      RETURN_IF_ERROR(part.CheckKeys({"normalizers"}));
      ASSIGN_OR_RETURN(const size_t size, part.At("normalizers").ListSize());
      for (size_t i = 0; i < size; ++i) RETURN_IF_ERROR(Add(part.At("normalizers").At(i)));
      return absl::OkStatus();
    }
    if (type == "NFC") return AddForm(part, NormalForm::kNfc);
    if (type == "NFD") return AddForm(part, NormalForm::kNfd);
    if (type == "NFKC") return AddForm(part, NormalForm::kNfkc);
    if (type == "NFKD") return AddForm(part, NormalForm::kNfkd);
    if (type == "Lowercase") {
      RETURN_IF_ERROR(part.CheckKeys({}));
      made_.push_back(std::make_unique<ToLowercase>());
      return absl::OkStatus();
    }
    if (type == "StripAccents") {
      RETURN_IF_ERROR(part.CheckKeys({}));
      made_.push_back(std::make_unique<Drop>(Accents()));
      return absl::OkStatus();
    }
    if (type == "Prepend") {
      RETURN_IF_ERROR(part.CheckKeys({"prepend"}));
      ASSIGN_OR_RETURN(std::string prefix, part.At("prepend").Text());
      made_.push_back(std::make_unique<Prepend>(std::move(prefix)));
      return absl::OkStatus();
    }
    if (type == "Strip") {
      RETURN_IF_ERROR(part.CheckKeys({"strip_left", "strip_right"}));
      ASSIGN_OR_RETURN(const bool left, part.At("strip_left").Bool());
      ASSIGN_OR_RETURN(const bool right, part.At("strip_right").Bool());
      made_.push_back(std::make_unique<Strip>(left, right));
      return absl::OkStatus();
    }
    if (type == "Replace") return AddReplace(part);
    return part.At("type").Error(absl::StrCat(
        "Wyvern has no normalizer '", type,
        "'; it has Sequence, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Prepend, Replace and "
        "Strip"));
  }

  absl::Status AddForm(const JsonPart& part, NormalForm form) {
    RETURN_IF_ERROR(part.CheckKeys({}));
    made_.push_back(std::make_unique<ToNormalForm>(form));
    return absl::OkStatus();
  }

  absl::Status AddReplace(const JsonPart& part) {
    RETURN_IF_ERROR(part.CheckKeys({"pattern", "content"}));
    RETURN_IF_ERROR(part.At("pattern").CheckKeys({"String", "Regex"}));
    ASSIGN_OR_RETURN(std::string content, part.At("content").Text());
    const JsonPart literal = part.At("pattern").At("String");
    if (!literal.is_null()) {
      ASSIGN_OR_RETURN(const std::string text, literal.Text());
      if (text.empty()) return literal.Expected("a text that is not empty");
      made_.push_back(std::make_unique<Replace>(Pattern::Literal(text), text, std::move(content)));
      return absl::OkStatus();
    }
    const JsonPart regex = part.At("pattern").At("Regex");
    ASSIGN_OR_RETURN(const std::string text, regex.Text());
    absl::StatusOr<Pattern> pattern = Pattern::Compile(text, PatternDialect::kOniguruma);
    if (!pattern.ok()) return regex.Error(pattern.status().message());
    made_.push_back(std::make_unique<Replace>(*std::move(pattern), "", std::move(content)));
    return absl::OkStatus();
  }

  std::vector<std::unique_ptr<Normalizer>> made_;
};

}  // namespace

absl::StatusOr<std::vector<std::unique_ptr<Normalizer>>> MakeNormalizers(const JsonPart& part) {
  return Reader().Read(part);
}

}  // namespace wyvern
