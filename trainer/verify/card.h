// The results of the checks of a recipe on a machine.
#ifndef WYVERN_TRAINER_VERIFY_CARD_H_
#define WYVERN_TRAINER_VERIFY_CARD_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "trainer/bench/step_bench.h"

namespace wyvern {

// A run that was continued from a checkpoint, beside the run that was not interrupted.
struct ResumeCheck {
  int64_t from_step = 0, to_step = 0;
  int64_t num_tensors = 0;             // of the last checkpoint: weights, buffers, optimizer states
  int64_t num_losses = 0;              // of the steps between
  std::vector<std::string> different;  // tensors and losses ("step 5 loss") with other bits

  bool passed() const { return different.empty() && num_tensors > 0 && num_losses > 0; }
};

// A Hugging Face folder, written in fp32 and read again.
struct ExportCheck {
  std::string family;
  std::vector<std::string> why_not;  // of a family that cannot hold the model; else empty
  int64_t num_tensors = 0;
  std::vector<std::string> different;  // parameters and buffers with other bits

  bool passed() const { return !why_not.empty() || (different.empty() && num_tensors > 0); }
};

// Logits, loss and gradients of the run's device and precision, beside the CPU's.
struct NumbersCheck {
  struct Row {
    std::string quantity;  // "logits", "loss", "grad blocks.0.mixer.q_proj.weight"
    double error = 0;      // as in trainer/hf/parity.h; NaN never passes
    double limit = 0;
    bool passed() const { return error <= limit; }
  };
  int64_t num_tokens = 0;
  std::string reference;                     // "fp64 on the CPU"
  double mean_cosine = 0, least_cosine = 0;  // of a token's logits with the reference's
  std::vector<Row> rows;

  bool passed() const;
};

struct Card {
  std::string name;
  // In order: the recipe, the model, versions of programs, the device.
  std::vector<std::pair<std::string, std::string>> facts;
  // Absent: not checked.
  std::optional<std::vector<ResumeCheck>> resume;
  std::optional<std::vector<ExportCheck>> exports;
  std::optional<NumbersCheck> numbers;
  std::optional<StepBench> speed;

  bool passed() const;  // of all that was checked

  // {name, passed, facts: [[fact, value], ...], resume, exports, numbers, speed}
  nlohmann::json Json() const;
};

// Takes into `card` the checks that it lacks and an older card has, if all facts of both are equal:
// the configuration, the versions, the device. Otherwise it says which fact is not, "" if none.
std::string KeepOtherChecks(const nlohmann::json& older, nlohmann::json* card);

// A card's JSON, to be read.
std::string CardMarkdown(const nlohmann::json& card);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_VERIFY_CARD_H_
