// The chat template of a run, as its checkpoints keep it: meta["chat"], {"template",
// "special_tokens": {"eos_token": "..."}}.
#ifndef WYVERN_TRAINER_CHECKPOINT_CHAT_RECORD_H_
#define WYVERN_TRAINER_CHECKPOINT_CHAT_RECORD_H_

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "data/chat/chat_template.h"
#include "data/tokenizer/tokenizer.h"
#include "trainer/checkpoint/read.h"

namespace wyvern {

nlohmann::json ChatRecord(const ChatOptions& chat);

// The chat template of a checkpoint: that of its run, else the one that came with its tokenizer,
// which may be null. Without a source there is none. Errors: a record or file that is no such.
absl::StatusOr<ChatOptions> CheckpointChat(const CheckpointInfo& checkpoint,
                                           const Tokenizer* tokenizer);

// Whether the documents of its run began with bos (meta["add_bos"]), so that a prompt is to.
bool CheckpointAddsBos(const CheckpointInfo& checkpoint);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CHECKPOINT_CHAT_RECORD_H_
