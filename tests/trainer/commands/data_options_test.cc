#include "trainer/commands/data_options.h"

#include <gtest/gtest.h>

namespace wyvern {
namespace {

TEST(DataOptions, MessagesNameWhatWasTyped) {
  EXPECT_EQ(NameOptions("vocab_size: expected 1"), "--vocab-size: expected 1");
  EXPECT_EQ(NameOptions("eos_id: expected"), "--eos: expected");
  EXPECT_EQ(NameOptions("field: 'a' has no effect; leave it out, or set the format to 'json'"),
            "--field: 'a' has no effect; leave it out, or give --format json");
  EXPECT_EQ(NameOptions("fields.txt: byte 3 is not UTF-8, or set invalid_utf8 to 'replace' to"),
            "fields.txt: byte 3 is not UTF-8, or give --invalid-utf8 replace to");
  EXPECT_EQ(NameOptions("a.bin: give its dtype (uint16)"), "a.bin: give it by --dtype (uint16)");
  EXPECT_EQ(NameOptions("no template; name one by chat_template"),
            "no template; name one by --chat-template");
  EXPECT_EQ(NameOptions("the last turn (train_on: last)"), "the last turn (--train-on last)");
  EXPECT_EQ(NameOptions("d: it is one store, and shard_bytes is set"),
            "d: it is one store, and --shard-bytes is given");
  const absl::Status status = NameOptions(absl::NotFoundError("output: x"));
  EXPECT_EQ(status, absl::NotFoundError("--output: x"));
  EXPECT_TRUE(NameOptions(absl::OkStatus()).ok());
}

}  // namespace
}  // namespace wyvern
