// Every byte is a token: ids 0 to 255 are the bytes, 256 is bos, 257 is eos; vocab_size 258.
// Decode(Encode(s)) equals s for any string of bytes.
#ifndef WYVERN_DATA_TOKENIZER_BYTE_TOKENIZER_H_
#define WYVERN_DATA_TOKENIZER_BYTE_TOKENIZER_H_

#include <memory>

#include "data/tokenizer/tokenizer.h"

namespace wyvern {

std::unique_ptr<Tokenizer> MakeByteTokenizer();

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_BYTE_TOKENIZER_H_
