// One question of a recall task (trainer/evaluation/recall_task.h), as large as is asked for.
#ifndef WYVERN_TRAINER_EVALUATION_RECALL_SAMPLE_H_
#define WYVERN_TRAINER_EVALUATION_RECALL_SAMPLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/evaluation/recall_task.h"

namespace wyvern {

struct RecallSample {
  std::string input;                 // text and question
  std::string prefix;                // how the answer begins
  std::vector<std::string> outputs;  // what it must contain
};

// The pieces that a haystack is made of: the words of the essay, or sentences.
struct Haystack {
  std::vector<std::string> words;  // of the essay, which repeats
};

// The haystack has `size` units: words of an essay, sentences elsewhere. Keys, values and the
// question depend on seed and number alone, not on the size.
RecallSample NeedleSample(RecallKind kind, uint64_t seed, int64_t number, int64_t size,
                          const Haystack& haystack);

// `size` times five sentences of noise. An example that is answered, of `example_size` times five
// sentences, stands before the question.
RecallSample VariableSample(uint64_t seed, int64_t number, int64_t size, int64_t example_size);
// The example alone.
std::string VariableExample(uint64_t seed, int64_t number, int64_t size);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_EVALUATION_RECALL_SAMPLE_H_
