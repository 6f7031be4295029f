#include "trainer/config/peer_keys.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "trainer/config/load.h"
#include "trainer/config/reference.h"

namespace wyvern {
namespace {

TEST(PeerKeysTest, EachNameIsOfAKeyThatThereIs) {
  std::set<std::string> known, types, names;
  for (const KeyEntry& entry : ConfigReference()) known.insert(entry.key);
  for (const MixerType& type : MixerTypes()) types.insert(type.name);
  for (const PeerKey& peer : PeerKeys()) {
    EXPECT_TRUE(names.insert(peer.name).second) << peer.name;
    bool is_known = known.count(peer.key) > 0;
    for (const std::string& type : types) {
      is_known = is_known || known.count(absl::StrReplaceAll(peer.key, {{"NAME", type}})) > 0;
    }
    EXPECT_TRUE(is_known) << peer.name << ": " << peer.key;
    EXPECT_EQ(FindPeerKey(peer.name), &peer);
  }
  EXPECT_EQ(FindPeerKey("learning-rate"), FindPeerKey("learning_rate"));
  EXPECT_EQ(FindPeerKey("peak"), nullptr);
}

TEST(PeerKeysTest, UnknownKeysAreToldTheirName) {
  const auto config = ParseRunConfig(R"(learning_rate: 1e-3
training: {max_steps: 9}
model: {n_layers: 2, hiden_size: 8}
train: {per_device_train_batch_size: 4, min-lr-ratio: 0.1}
)",
                                     "c.yaml");
  const std::string error(config.status().message());
  for (const char* const part :
       {"c.yaml:1: learning_rate: unknown key; Wyvern calls it schedule.peak\n",
        "c.yaml:2: training: unknown key; did you mean 'train'?",
        "c.yaml:3: model.n_layers: unknown key; Wyvern calls it model.num_layers\n",
        "c.yaml:3: model.hiden_size: unknown key; did you mean 'hidden_size'?",
        "train.per_device_train_batch_size: unknown key; Wyvern calls it train.micro_batch\n",
        "min-lr-ratio: unknown key; Wyvern calls it schedule.final, a rate and not a share"}) {
    EXPECT_TRUE(absl::StrContains(error, part)) << part << " is not in\n" << error;
  }
}

}  // namespace
}  // namespace wyvern
