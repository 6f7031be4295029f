#ifndef WYVERN_TRAINER_INFERENCE_STOP_TEXT_H_
#define WYVERN_TRAINER_INFERENCE_STOP_TEXT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "data/tokenizer/tokenizer.h"
#include "trainer/inference/generate.h"

namespace wyvern {

// The text of tokens that arrive one by one, up to the first of some strings, which may begin and
// end within tokens.
class StopText {
 public:
  // `previous` is the token before the first one. No stop is empty.
  StopText(const Tokenizer& tokenizer, int32_t previous, std::vector<std::string> stops)
      : stream_(tokenizer, previous), stops_(std::move(stops)) {}

  // Returns the text that this token completes and that is no part of a stop, nor may become one.
  std::string Add(int32_t token);
  // Whether a stop was found. No token is to be added then.
  bool stopped() const { return stopped_; }
  // The text that was held back, when no token follows.
  std::string Rest();

 private:
  std::string Take(const std::string& piece);

  TextStream stream_;
  std::vector<std::string> stops_;
  std::string held_;  // may be the beginning of a stop
  bool stopped_ = false;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_INFERENCE_STOP_TEXT_H_
