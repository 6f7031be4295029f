#ifndef WYVERN_DATA_IO_UNIQUE_NAME_H_
#define WYVERN_DATA_IO_UNIQUE_NAME_H_

#include <string>

namespace wyvern {

// 128 random bits as 32 hexadecimal digits: a part of a name that no other process has or will
// have, on whatever host. (In containers every process is number 1.)
std::string UniqueName();

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_UNIQUE_NAME_H_
