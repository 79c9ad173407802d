/**
 * The normative statements of MQTT 3.1.1 (OASIS Standard, appendix B) by their numbers, in short, with what Tidegate makes
 * of each; and below them where MQTT 3.1, which numbers nothing, differs. The tests and docs/protocol.md come from here.
 */
import { client, deviation, pass, unseen } from './statement.ts'
import type { Statement, Tested } from './statement.ts'

const noWebSocket = 'MQTT over WebSocket is not served yet'

export const statements = {
  'MQTT-1.5.3-1': pass('Strings are well-formed UTF-8 without surrogates; a packet with another is the end of the connection'),
  'MQTT-1.5.3-2': pass('Strings hold no U+0000; a packet with one is the end of the connection'),
  'MQTT-1.5.3-3': pass('EF BB BF is U+FEFF wherever it stands, and is not skipped or stripped'),
  'MQTT-2.2.2-1': pass('Reserved flag bits of the fixed header have the values of table 2.2'),
  'MQTT-2.2.2-2': pass('Invalid flags are the end of the connection'),
  'MQTT-2.3.1-1': pass('SUBSCRIBE, UNSUBSCRIBE and PUBLISH above QoS 0 have a packet id that is not 0'),
  'MQTT-2.3.1-2': client('A client gives each new packet an unused packet id'),
  'MQTT-2.3.1-3': client('A client sends a packet again under the id that it had'),
  'MQTT-2.3.1-4': pass('A server gives each PUBLISH above QoS 0 an unused packet id, and sends it again under the same'),
  'MQTT-2.3.1-5': pass('A PUBLISH of QoS 0 has no packet id'),
  'MQTT-2.3.1-6': pass('PUBACK, PUBREC and PUBREL have the packet id of the PUBLISH'),
  'MQTT-2.3.1-7': pass('SUBACK and UNSUBACK have the packet id of the SUBSCRIBE and UNSUBSCRIBE'),
  'MQTT-3.1.0-1': pass('The first packet of a client is CONNECT'),
  'MQTT-3.1.0-2': pass('A second CONNECT is a violation, and the client is disconnected'),
  'MQTT-3.1.2-1': pass('A CONNECT with another protocol name is not processed as MQTT'),
  'MQTT-3.1.2-2': pass('A protocol level that is not supported is answered with CONNACK 1, then the client is disconnected'),
  'MQTT-3.1.2-3': pass('A client whose CONNECT has the reserved flag set is disconnected'),
  'MQTT-3.1.2-4': pass('Clean session 0 resumes the session of the client id, or creates one, and keeps it after the connection'),
  'MQTT-3.1.2-5': pass('What is published with QoS 1 and 2 while a session has no connection is kept for its subscriptions'),
  'MQTT-3.1.2-6': pass('Clean session 1 discards the earlier session; its own ends with the connection'),
  'MQTT-3.1.2.7': pass('Retained messages are not part of a session and stay when it ends'),
  'MQTT-3.1.2-8': deviation(
    'The will is published when the connection closes, unless DISCONNECT came before',
    'published in every case but one: when Tidegate itself is stopped, since its clients are expected to come back'
  ),
  'MQTT-3.1.2-9': pass('With the will flag, will topic and will message are in the payload'),
  'MQTT-3.1.2-10': pass('The will is removed once it was published, or DISCONNECT came'),
  'MQTT-3.1.2-11': pass('Without the will flag, will QoS and retain are 0, and the payload has neither topic nor message'),
  'MQTT-3.1.2-12': pass('Without the will flag no will is published'),
  'MQTT-3.1.2-13': pass('Without the will flag, will QoS is 0'),
  'MQTT-3.1.2-14': pass('Will QoS is not 3'),
  'MQTT-3.1.2-15': pass('Without the will flag, will retain is 0'),
  'MQTT-3.1.2-16': pass('Will retain 0: the will is published as a message that is not retained'),
  'MQTT-3.1.2-17': pass('Will retain 1: the will is published as a retained message'),
  'MQTT-3.1.2-18': pass('Without the user name flag there is no user name'),
  'MQTT-3.1.2-19': pass('With the user name flag there is a user name'),
  'MQTT-3.1.2-20': pass('Without the password flag there is no password'),
  'MQTT-3.1.2-21': pass('With the password flag there is a password'),
  'MQTT-3.1.2-22': pass('Without the user name flag the password flag is 0'),
  'MQTT-3.1.2-23': client('A client that has nothing else to send within the keep alive sends PINGREQ'),
  'MQTT-3.1.2-24': deviation(
    'A client that is silent for one and a half keep alives is disconnected, as if the network had failed',
    'the time stands still while Tidegate itself does not read the socket, because over limits.heldBytes wait for the disk or for its rate'
  ),
  'MQTT-3.1.3-1': pass('The payload fields of CONNECT come in the order client id, will topic, will message, user name, password'),
  'MQTT-3.1.3-2': pass('The client id identifies the session'),
  'MQTT-3.1.3-3': pass('The client id is the first field of the payload'),
  'MQTT-3.1.3-4': pass('The client id is a UTF-8 string'),
  'MQTT-3.1.3-5': pass('Client ids of 1 to 23 bytes of 0-9, a-z and A-Z are allowed'),
  'MQTT-3.1.3-6': pass('A client with an empty client id gets a unique one and is served as if it had sent that'),
  'MQTT-3.1.3-7': client('A client that sends an empty client id sets clean session to 1'),
  'MQTT-3.1.3-8': pass('An empty client id with clean session 0 is answered with CONNACK 2, then the connection is closed'),
  'MQTT-3.1.3-9': pass('A client id that is refused is answered with CONNACK 2, then the connection is closed'),
  'MQTT-3.1.3-10': pass('The will topic is a UTF-8 string'),
  'MQTT-3.1.3-11': pass('The user name is a UTF-8 string'),
  'MQTT-3.1.4-1': pass('A CONNECT that does not conform is the end of the connection, without a CONNACK'),
  'MQTT-3.1.4-2': pass('A client with the client id of one that is connected disconnects that one'),
  'MQTT-3.1.4-3': pass('Clean session is processed as section 3.1.2.4 says'),
  'MQTT-3.1.4-4': pass('A CONNECT that is accepted is answered with CONNACK 0'),
  'MQTT-3.1.4-5': pass('Nothing that comes behind a CONNECT that was refused is processed'),
  'MQTT-3.2.0-1': pass('The first packet of the server is CONNACK'),
  'MQTT-3.2.2-1': pass('Clean session 1: session present is 0'),
  'MQTT-3.2.2-2': pass('Clean session 0 with a stored session: session present is 1'),
  'MQTT-3.2.2-3': pass('Clean session 0 without a stored session: session present is 0'),
  'MQTT-3.2.2-4': pass('A CONNACK with another return code than 0 has session present 0'),
  'MQTT-3.2.2-5': pass('After a CONNACK with another return code than 0 the connection is closed'),
  'MQTT-3.2.2-6': pass('When no return code applies, the connection is closed without a CONNACK'),
  'MQTT-3.3.1-1': pass('A PUBLISH that is sent again has DUP set'),
  'MQTT-3.3.1-2': pass('A PUBLISH of QoS 0 has DUP 0'),
  'MQTT-3.3.1-3': pass('DUP of an outgoing PUBLISH does not depend on that of the incoming one'),
  'MQTT-3.3.1-4': pass('A PUBLISH with both QoS bits set is the end of the connection'),
  'MQTT-3.3.1-5': deviation(
    'A PUBLISH with RETAIN is stored with its QoS and delivered to later subscribers',
    'up to limits.retained and limits.retainedBytes; what is beyond them is not kept, and counted'
  ),
  'MQTT-3.3.1-6': pass('A new subscription gets the last retained message of each topic that matches'),
  'MQTT-3.3.1-7': pass('A retained message of QoS 0 replaces the one that was there'),
  'MQTT-3.3.1-8': pass('RETAIN is 1 on what is sent because of a new subscription'),
  'MQTT-3.3.1-9': pass('RETAIN is 0 on what is sent because of an established subscription, whatever the message came with'),
  'MQTT-3.3.1-10': pass('A retained message without payload is processed, and removes the one that was there'),
  'MQTT-3.3.1-11': pass('A retained message without payload is not stored'),
  'MQTT-3.3.1-12': pass('A PUBLISH without RETAIN neither stores nor removes a retained message'),
  'MQTT-3.3.2-1': pass('The topic name is the first field of PUBLISH and a UTF-8 string'),
  'MQTT-3.3.2-2': pass('The topic name of a PUBLISH has no wildcards'),
  'MQTT-3.3.2-3': pass('The topic name of what is sent to a subscriber matches a filter of its subscriptions'),
  'MQTT-3.3.4-1': pass('A PUBLISH is answered as its QoS asks: not at all, with PUBACK, with PUBREC'),
  'MQTT-3.3.5-1': pass('Of overlapping subscriptions the highest QoS counts'),
  'MQTT-3.3.5-2': pass('A PUBLISH that is not authorized is acknowledged, or is the end of the connection'),
  'MQTT-3.6.1-1': pass('A PUBREL with other flags than 0010 is the end of the connection'),
  'MQTT-3.8.1-1': pass('A SUBSCRIBE with other flags than 0010 is the end of the connection'),
  'MQTT-3.8.3-1': pass('Topic filters of SUBSCRIBE are UTF-8 strings'),
  'MQTT-3.8.3-2': pass('Filters with wildcards are supported, or refused'),
  'MQTT-3.8.3-3': pass('A SUBSCRIBE without a filter is a violation'),
  'MQTT-3.8.3-4': pass('A SUBSCRIBE with reserved bits set, or another QoS than 0, 1 or 2, is the end of the connection'),
  'MQTT-3.8.4-1': pass('A SUBSCRIBE is answered with SUBACK'),
  'MQTT-3.8.4-2': pass('A SUBACK has the packet id of its SUBSCRIBE'),
  'MQTT-3.8.4-3': pass('A filter that was there is replaced: its retained messages are sent again, the flow is not interrupted'),
  'MQTT-3.8.4-4': pass('Many filters in one SUBSCRIBE are as many SUBSCRIBEs with one SUBACK'),
  'MQTT-3.8.4-5': pass('A SUBACK has for each filter the QoS granted, or failure'),
  'MQTT-3.8.4-6': pass('A message is sent with the lower of its own QoS and the granted one'),
  'MQTT-3.9.3-1': pass('The return codes of SUBACK are in the order of the filters'),
  'MQTT-3.9.3-2': pass('The return codes of SUBACK are 0, 1, 2 or 128'),
  'MQTT-3.10.1-1': pass('An UNSUBSCRIBE with other flags than 0010 is the end of the connection'),
  'MQTT-3.10.3-1': pass('Topic filters of UNSUBSCRIBE are UTF-8 strings, one after another'),
  'MQTT-3.10.3-2': pass('An UNSUBSCRIBE without a filter is a violation'),
  'MQTT-3.10.4-1': pass('UNSUBSCRIBE ends the subscription whose filter is the same, character by character, and no other'),
  'MQTT-3.10.4-2': pass('After UNSUBSCRIBE no new message is sent for the subscription'),
  'MQTT-3.10.4-3': pass('What was begun to be sent with QoS 1 or 2 before UNSUBSCRIBE is completed'),
  'MQTT-3.10.4-4': pass('UNSUBSCRIBE is answered with UNSUBACK under its packet id'),
  'MQTT-3.10.4-5': pass('UNSUBSCRIBE is answered also when it ends no subscription'),
  'MQTT-3.10.4-6': pass('Many filters in one UNSUBSCRIBE are as many UNSUBSCRIBEs with one UNSUBACK'),
  'MQTT-3.12.4-1': pass('PINGREQ is answered with PINGRESP'),
  'MQTT-3.14.1-1': pass('A client whose DISCONNECT has reserved bits set is disconnected'),
  'MQTT-3.14.4-1': client('A client closes the connection after DISCONNECT'),
  'MQTT-3.14.4-2': client('A client sends nothing after DISCONNECT'),
  'MQTT-3.14.4-3': pass('On DISCONNECT the will is discarded, not published'),
  'MQTT-4.1.0-1': deviation(
    'The session is stored for its entire duration',
    'limits.sessions, limits.queuedMessages and limits.queuedBytes bound sessions'
  ),
  'MQTT-4.1.0-2': pass('A session lasts at least as long as its connection'),
  'MQTT-4.3.1-1': pass('QoS 0: sent with QoS 0 and DUP 0'),
  'MQTT-4.3.2-1': pass('QoS 1, sender: an unused packet id, DUP 0 at first, unacknowledged until PUBACK'),
  'MQTT-4.3.2-2': deviation(
    'QoS 1, receiver: PUBACK with the id once it owns the message; what comes after that under the id is new, whatever its DUP',
    'with DUP, and the user, packet id and bytes of one of the last ten minutes, it is that one sent again, and is stored once'
  ),
  'MQTT-4.3.3-1': pass('QoS 2, sender: unused id, DUP 0, PUBREL on PUBREC, unacknowledged until PUBCOMP; no PUBLISH after PUBREL'),
  'MQTT-4.3.3-2': pass('QoS 2, receiver: PUBREC; the same message under the id until PUBREL; PUBCOMP; then the id is new'),
  'MQTT-4.4.0-1': pass('To a session that comes back unacknowledged PUBLISH and PUBREL are sent again under their packet ids'),
  'MQTT-4.5.0-1': deviation(
    'A message that the server took is added to the session of each client whose subscriptions match',
    'up to limits.queuedMessages of one session and limits.queuedBytes of all; what is beyond them is dropped for that session, and counted'
  ),
  'MQTT-4.5.0-2': client('A client acknowledges what it receives, whether it processes it or not'),
  'MQTT-4.6.0-1': pass('What is sent again is sent in the order in which it was sent first'),
  'MQTT-4.6.0-2': pass('PUBACKs are sent in the order of the PUBLISHes'),
  'MQTT-4.6.0-3': pass('PUBRECs are sent in the order of the PUBLISHes'),
  'MQTT-4.6.0-4': pass('PUBRELs are sent in the order of the PUBRECs'),
  'MQTT-4.6.0-5': pass('Every topic is an ordered topic'),
  'MQTT-4.6.0-6': pass('Subscribers get the messages of one client, topic and QoS in the order in which they came'),
  'MQTT-4.7.1-1': pass('Wildcards may stand in a topic filter and not in a topic name'),
  'MQTT-4.7.1-2': pass('# stands alone or behind a separator, and last'),
  'MQTT-4.7.1-3': pass('+ is a whole level, wherever it stands'),
  'MQTT-4.7.2-1': pass('A filter that begins with a wildcard matches no topic name that begins with $'),
  'MQTT-4.7.3-1': pass('Topic names and filters are at least one character long'),
  'MQTT-4.7.3-2': pass('Topic names and filters hold no U+0000'),
  'MQTT-4.7.3-3': deviation(
    'Topic names and filters are at most 65,535 bytes long',
    'at most 256 bytes and 16 levels; a longer one is the end of the connection'
  ),
  'MQTT-4.7.3-4': pass('Matching normalizes nothing: character by character'),
  'MQTT-4.8.0-1': pass('A protocol violation is the end of the connection that it came on'),
  'MQTT-4.8.0-2': deviation(
    'A transient error while a packet is processed is the end of the connection',
    'while the journal cannot be written or is full, what asks for an acknowledgement waits and nobody is disconnected'
  ),
  'MQTT-6.0.0-1': unseen('Over WebSocket packets are in binary frames; another frame is the end of the connection', noWebSocket),
  'MQTT-6.0.0-2': unseen('Over WebSocket packets need not be aligned with frames', noWebSocket),
  'MQTT-6.0.0-3': client('Over WebSocket a client offers the sub protocol mqtt'),
  'MQTT-6.0.0-4': unseen('Over WebSocket the server answers with the sub protocol mqtt', noWebSocket),
  'MQTT-7.0.0-1': unseen('A server that connects to other servers is a conforming client as well', 'Tidegate connects to no other server'),
  'MQTT-7.0.0-2': pass('No extension is needed to work with it'),
  'MQTT-7.1.1-1': pass('A transport with an ordered, lossless stream of bytes in both directions is supported'),
  'MQTT-7.1.2-1': client('A client supports such a transport'),

  'V3.1-1': pass('§3.1 Protocol name MQIsdp with version 3 is accepted, and no other pair of name and version but that of 3.1.1'),
  'V3.1-2': deviation(
    '§3.1 A client id of more than 23 characters is answered with CONNACK 2',
    'accepted up to 128 bytes, as for MQTT 3.1.1: clients of 3.1 with longer ids exist, and no other than them is affected'
  ),
  'V3.1-3': pass('§3.1 An empty client id is answered with CONNACK 2, whatever clean session says'),
  'V3.1-4': pass('§3.1 With their flags set, user name and password may be missing at the end of the packet'),
  'V3.1-5': pass('§3.2 The first byte of the variable header of CONNACK is 0: there is no session present'),
  'V3.1-6': pass('§2.1 DUP may be set on PUBREL, SUBSCRIBE and UNSUBSCRIBE that are sent again'),
  'V3.1-7': deviation(
    '§3.9 SUBACK tells the QoS granted, and knows no failure',
    'a filter over limits.subscriptions is answered with 128, as in 3.1.1: to tell a QoS for it would be untrue'
  )
} as const satisfies Readonly<Record<string, Statement>>

/** The statements that have a test. */
export type TestedId = Tested<typeof statements>

/** All statements in the order of the specification. */
export const allStatements: readonly (readonly [string, Statement])[] = Object.entries(statements)
