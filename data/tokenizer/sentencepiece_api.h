// SentencePiece behind an interface of the standard library alone: its headers define
// absl::string_view anew, so no file may include both them and Abseil.
#ifndef WYVERN_DATA_TOKENIZER_SENTENCEPIECE_API_H_
#define WYVERN_DATA_TOKENIZER_SENTENCEPIECE_API_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace wyvern {

class SentencePieceModel {
 public:
  // nullptr and a reason in `error` if `model` is not a complete model.
  static std::unique_ptr<SentencePieceModel> Load(const std::string& model, std::string* error);
  virtual ~SentencePieceModel() = default;

  virtual std::vector<int32_t> Encode(std::string_view text) const = 0;
  // Every id must lie in [0, vocab_size()).
  virtual std::string Decode(const std::vector<int32_t>& ids) const = 0;
  // The bytes that a piece stands for inside of a text: none for a control piece.
  virtual std::string BytesOf(int id) const = 0;
  virtual int vocab_size() const = 0;
  virtual int bos_id() const = 0;  // -1: none
  virtual int eos_id() const = 0;  // -1: none
};

struct SentencePieceTraining {
  std::string type;  // "bpe" or "unigram"
  int vocab_size;
  double character_coverage;
  int num_threads;
};

// Trains on lines[i], each at most kMaxTrainingLine bytes. On failure `error` is not empty.
inline constexpr int kMaxTrainingLine = 4096;
std::string TrainSentencePiece(const SentencePieceTraining& training,
                               const std::vector<std::string>& lines, std::string* error);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_SENTENCEPIECE_API_H_
