// Keys as other trainers spell them, for messages about unknown keys.
#ifndef WYVERN_TRAINER_CONFIG_PEER_KEYS_H_
#define WYVERN_TRAINER_CONFIG_PEER_KEYS_H_

#include <vector>

#include "absl/strings/string_view.h"

namespace wyvern {

struct PeerKey {
  const char* name;       // elsewhere, without its section
  const char* key;        // here, in full; NAME stands for a mixer, [] for an entry of a list
  const char* note = "";  // how the value differs
};

// Each name once.
const std::vector<PeerKey>& PeerKeys();

// Null if there is none. Dashes count as underscores, as in options of a command line.
const PeerKey* FindPeerKey(absl::string_view name);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CONFIG_PEER_KEYS_H_
