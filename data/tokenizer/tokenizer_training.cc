#include "data/tokenizer/tokenizer_training.h"

#include <chrono>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/bounded_file.h"
#include "data/io/file.h"
#include "data/io/output.h"
#include "data/tokenizer/hf_tokenizer.h"
#include "data/tokenizer/sentencepiece_api.h"
#include "data/tokenizer/sentencepiece_tokenizer.h"
#include "data/tokenizer/tokenize.h"
#include "kernels/runtime/random.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr int64_t kUnknownBosEos = 3;  // the special ids of a SentencePiece model

// A uniform sample of texts in bounded memory: one stays while its key, uniform in [0, 1), is below
// a limit that is halved whenever the texts outgrow the bound.
class TextSample {
 public:
  TextSample(uint64_t seed, int64_t max_bytes)
      : random_(seed, "tokenizer sample"), max_(max_bytes) {}

  void Add(std::string text) {
    const double key = random_.Uniform(seen_++);
    if (key >= limit_) return;
    bytes_ += static_cast<int64_t>(text.size());
    texts_.push_back({key, std::move(text)});
    while (bytes_ > max_) {
      limit_ /= 2;
      std::vector<KeyedText> kept;
      bytes_ = 0;
      for (KeyedText& candidate : texts_) {
        if (candidate.key >= limit_) continue;
        bytes_ += static_cast<int64_t>(candidate.text.size());
        kept.push_back(std::move(candidate));
      }
      texts_ = std::move(kept);
    }
  }

  int64_t bytes() const { return bytes_; }
  std::vector<std::string> Take() {
    std::vector<std::string> texts;
    for (KeyedText& candidate : texts_) texts.push_back(std::move(candidate.text));
    texts_.clear();
    return texts;
  }

 private:
  struct KeyedText {
    double key;
    std::string text;
  };
  const Random random_;
  const int64_t max_;
  std::vector<KeyedText> texts_;
  int64_t bytes_ = 0;
  uint64_t seen_ = 0;
  double limit_ = 1;
};

// The lines of a text, those too long for the trainer in parts.
void AddLines(absl::string_view text, TextSample* sample) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    absl::string_view line = text.substr(0, end);
    text.remove_prefix(end == absl::string_view::npos ? text.size() : end + 1);
    while (!line.empty()) {
      size_t cut = line.size();
      if (cut > kMaxTrainingLine) {
        cut = kMaxTrainingLine;
        while (cut > kMaxTrainingLine - 4 &&
               (static_cast<unsigned char>(line[cut]) & 0xC0) == 0x80) {
          --cut;  // not inside a UTF-8 character
        }
      }
      sample->Add(std::string(line.data(), cut));
      line.remove_prefix(cut);
    }
  }
}

// The source's documents whole, or their lines.
absl::Status AddSource(const TextSourceOptions& options, LongDocuments documents,
                       TextSample* sample, TokenizerTrainResult* result) {
  ASSIGN_OR_RETURN(const std::unique_ptr<TextSource> source, TextSource::Open(options, documents));
  TextPiece piece;
  while (true) {
    ASSIGN_OR_RETURN(const bool found, source->Next(&piece));
    if (!found) break;
    result->text_bytes += static_cast<int64_t>(piece.text.size());
    if (documents == LongDocuments::kWhole) {
      sample->Add(std::move(piece.text));
    } else {
      AddLines(piece.text, sample);
    }
  }
  for (std::string& note : source->Notes()) result->notes.push_back(std::move(note));
  return absl::OkStatus();
}

absl::Status Validate(const TokenizerTrainOptions& options) {
  if (options.output.empty()) {
    return absl::InvalidArgumentError("output: expected the path of the model file to write");
  }
  if (!IsTrained(options.type)) {
    return absl::InvalidArgumentError(
        absl::StrCat("type: expected bpe or unigram, got ", Name(options.type)));
  }
  if (options.is_byte_level) {
    if (options.type != TokenizerType::kBpe) {
      return absl::InvalidArgumentError("byte_level: only bpe can be of bytes, not unigram");
    }
    RETURN_IF_ERROR(options.byte_level.Validate());
  }
  const int64_t others = options.is_byte_level
                             ? static_cast<int64_t>(options.byte_level.SpecialTokens().size())
                             : kUnknownBosEos;
  if (options.vocab_size <= others + 256 || options.vocab_size > (1 << 24)) {
    return absl::InvalidArgumentError(
        absl::StrCat("vocab_size: expected more than ", others + 256, " (", others,
                     " special ids and 256 bytes) and at most 2^24, got ", options.vocab_size));
  }
  if (!(options.character_coverage > 0 && options.character_coverage <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("character_coverage: expected more than 0 and at most 1, got ",
                     options.character_coverage));
  }
  if (options.max_sample_bytes <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_sample_bytes: expected more than 0, got ", options.max_sample_bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Tokenizer>> TrainSentencePieces(
    const TokenizerTrainOptions& options, const std::vector<std::string>& lines,
    int64_t sample_bytes) {
  std::string error;
  const std::string model =
      TrainSentencePiece({Name(options.type), static_cast<int>(options.vocab_size),
                          options.character_coverage, ThreadCount(options.num_threads)},
                         lines, &error);
  if (!error.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("SentencePiece cannot make ", options.vocab_size,
                                                   " ids of ", sample_bytes,
                                                   " bytes of text: ", error));
  }
  return MakeSentencePieceTokenizer(model, options.output);
}

// The tokenizer_config.json beside a tokenizer.json.
std::string ConfigPath(const TokenizerTrainOptions& options) {
  return (std::filesystem::path(options.output).parent_path() / "tokenizer_config.json").string();
}

// Refuses to write over another tokenizer's configuration.
absl::Status CheckConfig(const TokenizerTrainOptions& options) {
  std::error_code ignored;
  const std::string path = ConfigPath(options);
  if (!std::filesystem::exists(path, ignored)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string there, ReadFileOf(kTokenizerFile, path));
  if (there == ByteLevelConfig(options.byte_level)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(path,
                   ": is there already and names other tokens; remove it, or name a path in "
                   "another folder"));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> TrainBytes(const TokenizerTrainOptions& options,
                                                      const std::vector<std::string>& documents) {
  TokenizerBundle bundle{.main = std::filesystem::path(options.output).filename().string(),
                         .files = {},
                         .settings = {}};
  ASSIGN_OR_RETURN(
      bundle.files[bundle.main],
      TrainByteLevel(documents, options.vocab_size, options.byte_level, options.num_threads));
  bundle.files["tokenizer_config.json"] = ByteLevelConfig(options.byte_level);
  return MakeHfTokenizer(std::move(bundle), options.output);
}

}  // namespace

absl::StatusOr<TokenizerTrainResult> TrainTokenizer(const TokenizerTrainOptions& options) {
  RETURN_IF_ERROR(Validate(options));
  // Before the work that would be lost without it.
  const std::string folder = std::filesystem::path(options.output).parent_path().string();
  if (!folder.empty()) RETURN_IF_ERROR(MakeFolders(folder));
  ASSIGN_OR_RETURN(Output output, Output::Claim(options.output));
  if (options.is_byte_level) RETURN_IF_ERROR(CheckConfig(options));
  const auto start = std::chrono::steady_clock::now();
  TokenizerTrainResult result;
  TextSample sample(options.seed, options.max_sample_bytes);
  for (const TextSourceOptions& source : options.sources) {
    if (source.format == TextFormat::kChat) {
      return absl::InvalidArgumentError(
          "a tokenizer is trained on text, not on conversations (format: chat); train it before, "
          "and name it by type: file");
    }
    RETURN_IF_ERROR(
        AddSource(source, options.is_byte_level ? LongDocuments::kWhole : LongDocuments::kInPieces,
                  &sample, &result));
  }
  if (sample.bytes() == 0) {
    return absl::InvalidArgumentError(
        result.text_bytes == 0
            ? std::string("no text to train a tokenizer on: the files are empty")
            : absl::StrCat("max_sample_bytes: no document is left of a sample of ",
                           options.max_sample_bytes, " bytes; raise it"));
  }
  result.sample_bytes = sample.bytes();
  std::unique_ptr<Tokenizer> tokenizer;
  if (options.is_byte_level) {
    ASSIGN_OR_RETURN(tokenizer, TrainBytes(options, sample.Take()));
    RETURN_IF_ERROR(
        WriteFileAtomically(ConfigPath(options), tokenizer->files().at("tokenizer_config.json")));
    RETURN_IF_ERROR(output.CommitFile(
        tokenizer->files().at(std::filesystem::path(options.output).filename().string())));
  } else {
    ASSIGN_OR_RETURN(tokenizer, TrainSentencePieces(options, sample.Take(), result.sample_bytes));
    RETURN_IF_ERROR(output.CommitFile(tokenizer->model()));
  }
  result.path = options.output;
  result.hash = tokenizer->hash();
  result.vocab_size = tokenizer->vocab_size();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

std::string TokenizerTrainResult::ToString() const {
  std::string text =
      absl::StrFormat("%s: %d ids, hash %s, trained on %.1f MB of %.1f MB of text in %.1f s\n",
                      path, vocab_size, hash, static_cast<double>(sample_bytes) / 1e6,
                      static_cast<double>(text_bytes) / 1e6, seconds);
  for (const std::string& note : notes) absl::StrAppend(&text, "note: ", note, "\n");
  return text;
}

}  // namespace wyvern
