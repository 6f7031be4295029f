#include "data/tokenizer/pre_tokenizer.h"

#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/tokenizer/byte_characters.h"
#include "data/tokenizer/code_points.h"
#include "data/tokenizer/text_growth.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr char kGpt2Pattern[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Says what becomes of the parts that match ("delimiters") and of those between them.
enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

absl::StatusOr<Behavior> ReadBehavior(const JsonPart& part) {
  ASSIGN_OR_RETURN(const std::string name, part.Text());
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  return part.Expected("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

// Divides at the matches that the finder finds.
template <typename Finder>
class DividePieces final : public PreTokenizer {
 public:
  DividePieces(Finder finder, Behavior behavior, bool invert)
      : finder_(std::move(finder)), behavior_(behavior), invert_(invert) {}

  void Apply(Pieces* pieces) const override {
    std::vector<Part> parts;
    pieces->DivideEach([&](absl::string_view piece, const auto& add) {
      size_t done = 0;
      if (behavior_ == Behavior::kIsolated) {  // matches or not, every part stays
        finder_.FindAll(piece, [&](size_t begin, size_t end) {
          add(done, begin);
          add(begin, end);
          done = end;
        });
        add(done, piece.size());
        return;
      }
      parts.clear();
      finder_.FindAll(piece, [&](size_t begin, size_t end) {
        if (done != begin) parts.push_back({done, begin, invert_});
        parts.push_back({begin, end, !invert_});
        done = end;
      });
      if (done != piece.size()) parts.push_back({done, piece.size(), invert_});
      AddParts(parts, add);
    });
  }

 private:
  struct Part {
    size_t begin, end;
    bool is_match;
  };

  template <typename Add>
  void AddParts(const std::vector<Part>& parts, const Add& add) const {
    const size_t n = parts.size();
    switch (behavior_) {
      case Behavior::kIsolated:
        break;  // has a shorter way
      case Behavior::kRemoved:
        for (const Part& part : parts) {
          if (!part.is_match) add(part.begin, part.end);
        }
        break;
      case Behavior::kContiguous:  // neighbours of one kind are one
        for (size_t i = 0; i < n;) {
          size_t end = i + 1;
          while (end < n && parts[end].is_match == parts[i].is_match) ++end;
          add(parts[i].begin, parts[end - 1].end);
          i = end;
        }
        break;
      case Behavior::kMergedWithPrevious:  // a match joins what is before it, if that is no match
        for (size_t i = 0; i < n;) {
          const size_t end =
              !parts[i].is_match && i + 1 < n && parts[i + 1].is_match ? i + 2 : i + 1;
          add(parts[i].begin, parts[end - 1].end);
          i = end;
        }
        break;
      case Behavior::kMergedWithNext:
        for (size_t i = 0; i < n;) {
          const size_t end =
              parts[i].is_match && i + 1 < n && !parts[i + 1].is_match ? i + 2 : i + 1;
          add(parts[i].begin, parts[end - 1].end);
          i = end;
        }
        break;
    }
  }

  const Finder finder_;
  const Behavior behavior_;
  const bool invert_;
};

// Every character of a set is a match of its own.
class CharacterFinder {
 public:
  explicit CharacterFinder(const CodePointSet& set) : set_(set) {}

  template <typename Found>
  void FindAll(absl::string_view piece, const Found& found) const {
    for (size_t at = 0; at < piece.size();) {
      int length;
      const uint32_t c = DecodeCharacter(piece.data() + at, &length);
      const size_t end = at + static_cast<size_t>(length);
      if (set_.Has(c)) found(at, end);
      at = end;
    }
  }

 private:
  CodePointTable set_;
};

class PrefixSpace final : public PreTokenizer {
 public:
  void Apply(Pieces* pieces) const override {
    pieces->RewriteEach([](absl::string_view piece, bool, std::string* out) {
      if (piece[0] != ' ') out->push_back(' ');
      out->append(piece.data(), piece.size());
    });
  }
};

class WriteBytes final : public PreTokenizer {
 public:
  void Apply(Pieces* pieces) const override {
    pieces->RewriteEach([](absl::string_view piece, bool, std::string* out) {
      for (const char c : piece) out->append(ByteCharacters()[static_cast<unsigned char>(c)]);
    });
  }
};

enum class Prepend { kNever, kFirst, kAlways };

class MarkSpaces final : public PreTokenizer {
 public:
  MarkSpaces(std::string mark, Prepend prepend) : mark_(std::move(mark)), prepend_(prepend) {}

  void Apply(Pieces* pieces) const override {
    pieces->RewriteEach([this](absl::string_view piece, bool first, std::string* out) {
      const bool wanted = prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && first);
      if (wanted && piece[0] != ' ' && !absl::StartsWith(piece, mark_)) out->append(mark_);
      for (const char c : piece) {
        if (c == ' ') {
          out->append(mark_);
        } else {
          out->push_back(c);
        }
      }
    });
  }

 private:
  const std::string mark_;
  const Prepend prepend_;
};

// Punctuation of ASCII and of Unicode 8.0, which is what tokenizers knows here.
CodePointSet Punctuation() {
  const CodePointSet later = CodePointSet::Of({{0x2E43, 0x2E44},
                                               {0x1144B, 0x1144F},
                                               {0x1145B, 0x1145B},
                                               {0x1145D, 0x1145D},
                                               {0x11660, 0x1166C},
                                               {0x11C41, 0x11C45},
                                               {0x11C70, 0x11C71},
                                               {0x1E95E, 0x1E95F}});
  return UnicodeCategory("P")
      .Intersection(Unicode9())
      .Intersection(later.Complement())
      .Union(CodePointSet::Of(
          {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}, {0x166D, 0x166D}, {0x111C9, 0x111C9}}));
}

// Numbers of Unicode 17.0, which is what tokenizers knows here.
CodePointSet Numbers() {
  return UnicodeCategory("N").Union(CodePointSet::Of({{0x11DE0, 0x11DE9}, {0x16FF4, 0x16FF6}}));
}

class Reader {
 public:
  absl::StatusOr<PreTokenization> Read(const JsonPart& part) {
    if (!part.is_null()) RETURN_IF_ERROR(Add(part));
    if (made_.steps.size() > kMaxTextSteps) {
      return part.Error(
          absl::StrCat(made_.steps.size(), " steps; Wyvern takes at most ", kMaxTextSteps));
    }
    if (num_rewrites_ > kMaxRewrites) {
      return part.Error(absl::StrCat(num_rewrites_,
                                     " steps that write spaces, marks or bytes, each of which may "
                                     "make a text several times as long; Wyvern takes at most ",
                                     kMaxRewrites));
    }
    if (made_.byte_level) made_.steps.pop_back();
    return std::move(made_);
  }

 private:
  static constexpr int kMaxRewrites = 3;

  void AddStep(std::unique_ptr<PreTokenizer> step) {
    made_.steps.push_back(std::move(step));
    made_.byte_level = false;
  }
  void AddRewrite(std::unique_ptr<PreTokenizer> step) {
    AddStep(std::move(step));
    ++num_rewrites_;
  }
  void AddPattern(Pattern pattern, Behavior behavior, bool invert) {
    AddStep(std::make_unique<DividePieces<Pattern>>(std::move(pattern), behavior, invert));
  }
  void AddCharacters(const CodePointSet& set, Behavior behavior) {
    AddStep(std::make_unique<DividePieces<CharacterFinder>>(CharacterFinder(set), behavior, false));
  }

  absl::Status Add(const JsonPart& part) {
    ASSIGN_OR_RETURN(const std::string type, part.At("type").Text());
    if (type == "Sequence") {
      RETURN_IF_ERROR(part.CheckKeys({"pretokenizers"}));
      ASSIGN_OR_RETURN(const size_t size, part.At("pretokenizers").ListSize());
      for (size_t i = 0; i < size; ++i) RETURN_IF_ERROR(Add(part.At("pretokenizers").At(i)));
      return absl::OkStatus();
    }
    if (type == "Split") return AddSplit(part);
    if (type == "ByteLevel") return AddByteLevel(part);
    if (type == "Metaspace") return AddMetaspace(part);
    if (type == "Digits") {
      RETURN_IF_ERROR(part.CheckKeys({"individual_digits"}));
      ASSIGN_OR_RETURN(const bool individual, part.At("individual_digits").Bool());
      AddCharacters(Numbers(), individual ? Behavior::kIsolated : Behavior::kContiguous);
      return absl::OkStatus();
    }
    if (type == "Punctuation") {
      RETURN_IF_ERROR(part.CheckKeys({"behavior"}));
      Behavior behavior = Behavior::kIsolated;
      if (!part.At("behavior").is_null()) {
        ASSIGN_OR_RETURN(behavior, ReadBehavior(part.At("behavior")));
      }
      AddCharacters(Punctuation(), behavior);
      return absl::OkStatus();
    }
    if (type == "Whitespace") {
      RETURN_IF_ERROR(part.CheckKeys({}));
      ASSIGN_OR_RETURN(Pattern pattern,
                       Pattern::Compile(R"(\w+|[^\w\s]+)", PatternDialect::kFancyRegex));
      AddPattern(std::move(pattern), Behavior::kRemoved, true);
      return absl::OkStatus();
    }
    if (type == "WhitespaceSplit") {
      RETURN_IF_ERROR(part.CheckKeys({}));
      AddCharacters(UnicodeWhiteSpace(), Behavior::kRemoved);
      return absl::OkStatus();
    }
    if (type == "BertPreTokenizer") {
      RETURN_IF_ERROR(part.CheckKeys({}));
      AddCharacters(UnicodeWhiteSpace(), Behavior::kRemoved);
      AddCharacters(Punctuation(), Behavior::kIsolated);
      return absl::OkStatus();
    }
    if (type == "CharDelimiterSplit") {
      RETURN_IF_ERROR(part.CheckKeys({"delimiter"}));
      ASSIGN_OR_RETURN(const uint32_t c, part.At("delimiter").Character());
      AddCharacters(CodePointSet::Of({{c, c}}), Behavior::kRemoved);
      return absl::OkStatus();
    }
    return part.At("type").Error(absl::StrCat(
        "Wyvern has no pre-tokenizer '", type,
        "'; it has Sequence, Split, ByteLevel, Metaspace, Digits, Punctuation, Whitespace, "
        "WhitespaceSplit, BertPreTokenizer and CharDelimiterSplit"));
  }

  absl::Status AddSplit(const JsonPart& part) {
    RETURN_IF_ERROR(part.CheckKeys({"pattern", "behavior", "invert"}));
    RETURN_IF_ERROR(part.At("pattern").CheckKeys({"String", "Regex"}));
    ASSIGN_OR_RETURN(const Behavior behavior, ReadBehavior(part.At("behavior")));
    ASSIGN_OR_RETURN(const bool invert, part.At("invert").Bool());
    const JsonPart literal = part.At("pattern").At("String");
    if (!literal.is_null()) {
      ASSIGN_OR_RETURN(const std::string text, literal.Text());
      if (text.empty()) return literal.Expected("a text that is not empty");
      AddPattern(Pattern::Literal(text), behavior, invert);
      return absl::OkStatus();
    }
    const JsonPart regex = part.At("pattern").At("Regex");
    ASSIGN_OR_RETURN(const std::string text, regex.Text());
    absl::StatusOr<Pattern> pattern = Pattern::Compile(text, PatternDialect::kOniguruma);
    if (!pattern.ok()) return regex.Error(pattern.status().message());
    AddPattern(*std::move(pattern), behavior, invert);
    return absl::OkStatus();
  }

  absl::Status AddByteLevel(const JsonPart& part) {
    RETURN_IF_ERROR(part.CheckKeys({"add_prefix_space", "trim_offsets", "use_regex"}));
    ASSIGN_OR_RETURN(const bool prefix, part.At("add_prefix_space").Bool());
    ASSIGN_OR_RETURN(const bool use_regex, part.At("use_regex").Bool(/*if_null=*/true));
    if (prefix) AddRewrite(std::make_unique<PrefixSpace>());
    if (use_regex) {
      ASSIGN_OR_RETURN(Pattern pattern, Pattern::Compile(kGpt2Pattern, PatternDialect::kOniguruma));
      AddPattern(std::move(pattern), Behavior::kIsolated, false);
    }
    AddRewrite(std::make_unique<WriteBytes>());
    made_.byte_level = true;
    return absl::OkStatus();
  }

  absl::Status AddMetaspace(const JsonPart& part) {
    RETURN_IF_ERROR(
        part.CheckKeys({"replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"}));
    ASSIGN_OR_RETURN(const uint32_t mark, part.At("replacement").Character());
    std::string spelt;
    AppendCharacter(mark, &spelt);
    Prepend prepend = Prepend::kAlways;
    const JsonPart scheme = part.At("prepend_scheme");
    if (!scheme.is_null()) {
      ASSIGN_OR_RETURN(const std::string name, scheme.Text());
      if (name == "never") {
        prepend = Prepend::kNever;
      } else if (name == "first") {
        prepend = Prepend::kFirst;
      } else if (name != "always") {
        return scheme.Expected("always, never or first");
      }
    }
    ASSIGN_OR_RETURN(const bool add_prefix, part.At("add_prefix_space").Bool(/*if_null=*/true));
    if (!add_prefix && !scheme.is_null() && prepend != Prepend::kNever) {
      return part.At("add_prefix_space").Error("false, which contradicts prepend_scheme");
    }
    if (!add_prefix) prepend = Prepend::kNever;
    made_.needs_text_begin = made_.needs_text_begin || prepend == Prepend::kFirst;
    ASSIGN_OR_RETURN(const bool split, part.At("split").Bool(/*if_null=*/true));
    AddRewrite(std::make_unique<MarkSpaces>(spelt, prepend));
    if (split) AddCharacters(CodePointSet::Of({{mark, mark}}), Behavior::kMergedWithNext);
    return absl::OkStatus();
  }

  PreTokenization made_;
  int num_rewrites_ = 0;
};

}  // namespace

Pieces::Pieces(absl::string_view text, bool at_text_begin)
    : text_(text), at_text_begin_(at_text_begin) {
  CheckSize();
  if (!text.empty()) ranges_.push_back({0, static_cast<uint32_t>(text.size())});
}

void Pieces::CheckSize() const {
  CHECK(text_.size() <= std::numeric_limits<uint32_t>::max(), "a text of ", text_.size(),
        " bytes; the tokenizer takes at most 2^32 - 1, with what it adds");
}

absl::StatusOr<PreTokenization> MakePreTokenization(const JsonPart& part) {
  return Reader().Read(part);
}

PreTokenization SplitIntoBytes(Pattern pattern) {
  PreTokenization made;
  made.steps.push_back(
      std::make_unique<DividePieces<Pattern>>(std::move(pattern), Behavior::kIsolated, false));
  made.byte_level = true;
  return made;
}

void KeepBytesAsCharacters(PreTokenization* pre_tokenization) {
  pre_tokenization->steps.push_back(std::make_unique<WriteBytes>());
  pre_tokenization->byte_level = false;
}

}  // namespace wyvern
