#include "data/tokenizer/tokenizer_training.h"

#include <chrono>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/file.h"
#include "data/io/output.h"
#include "data/tokenizer/sentencepiece_api.h"
#include "data/tokenizer/sentencepiece_tokenizer.h"
#include "data/tokenizer/tokenize.h"
#include "kernels/runtime/random.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr int64_t kSpecialIds = 3 + 256;  // unknown, bos, eos and the bytes

// A uniform sample of lines in bounded memory: a line stays while its key, uniform in [0, 1), is
// below a limit that is halved whenever the lines outgrow the bound.
class LineSample {
 public:
  LineSample(uint64_t seed, int64_t max_bytes)
      : random_(seed, "tokenizer sample"), max_(max_bytes) {}

  void Add(std::string line) {
    const double key = random_.Uniform(seen_++);
    if (key >= limit_) return;
    bytes_ += static_cast<int64_t>(line.size());
    lines_.push_back({key, std::move(line)});
    while (bytes_ > max_) {
      limit_ /= 2;
      std::vector<Line> kept;
      bytes_ = 0;
      for (Line& candidate : lines_) {
        if (candidate.key >= limit_) continue;
        bytes_ += static_cast<int64_t>(candidate.text.size());
        kept.push_back(std::move(candidate));
      }
      lines_ = std::move(kept);
    }
  }

  int64_t bytes() const { return bytes_; }
  std::vector<std::string> Take() {
    std::vector<std::string> lines;
    for (Line& line : lines_) lines.push_back(std::move(line.text));
    lines_.clear();
    return lines;
  }

 private:
  struct Line {
    double key;
    std::string text;
  };
  const Random random_;
  const int64_t max_;
  std::vector<Line> lines_;
  int64_t bytes_ = 0;
  uint64_t seen_ = 0;
  double limit_ = 1;
};

// The lines of a text, those too long for the trainer in parts.
void AddLines(absl::string_view text, LineSample* sample) {
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

absl::Status AddSource(const TextSourceOptions& options, LineSample* sample,
                       TokenizerTrainResult* result) {
  ASSIGN_OR_RETURN(const std::unique_ptr<TextSource> source,
                   TextSource::Open(options, LongDocuments::kInPieces));
  TextPiece piece;
  while (true) {
    ASSIGN_OR_RETURN(const bool found, source->Next(&piece));
    if (!found) break;
    result->text_bytes += static_cast<int64_t>(piece.text.size());
    AddLines(piece.text, sample);
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
  if (options.vocab_size <= kSpecialIds || options.vocab_size > (1 << 24)) {
    return absl::InvalidArgumentError(
        absl::StrCat("vocab_size: expected more than ", kSpecialIds,
                     " (3 special ids and 256 bytes) and at most 2^24, got ", options.vocab_size));
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

}  // namespace

absl::StatusOr<TokenizerTrainResult> TrainTokenizer(const TokenizerTrainOptions& options) {
  RETURN_IF_ERROR(Validate(options));
  // Before the work that would be lost without it.
  const std::string folder = std::filesystem::path(options.output).parent_path().string();
  if (!folder.empty()) RETURN_IF_ERROR(MakeFolders(folder));
  ASSIGN_OR_RETURN(Output output, Output::Claim(options.output));
  const auto start = std::chrono::steady_clock::now();
  TokenizerTrainResult result;
  LineSample sample(options.seed, options.max_sample_bytes);
  for (const TextSourceOptions& source : options.sources) {
    if (source.format == TextFormat::kChat) {
      return absl::InvalidArgumentError(
          "a tokenizer is trained on text, not on conversations (format: chat); train it before, "
          "and name it by type: file");
    }
    RETURN_IF_ERROR(AddSource(source, &sample, &result));
  }
  if (sample.bytes() == 0) {
    return absl::InvalidArgumentError("no text to train a tokenizer on: the files are empty");
  }
  result.sample_bytes = sample.bytes();

  std::string error;
  const std::string model =
      TrainSentencePiece({Name(options.type), static_cast<int>(options.vocab_size),
                          options.character_coverage, ThreadCount(options.num_threads)},
                         sample.Take(), &error);
  if (!error.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("SentencePiece cannot make ", options.vocab_size,
                                                   " ids of ", result.sample_bytes,
                                                   " bytes of text: ", error));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   MakeSentencePieceTokenizer(model, options.output));
  RETURN_IF_ERROR(output.CommitFile(model));
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
